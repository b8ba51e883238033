"""Envs and algorithm for a configuration, made for each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.run import RunConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec, Transition
from rl_cli.storage import manifest, transition_file


def read_prefill(
    cfg: RunConfig, algo_cfg: AlgoConfig, spec: EnvSpec, begun: Path | None
) -> Transition | None:
    """The transitions that the run is to begin with; None: it begins with nothing.

    A run that has `begun` has them in its checkpoints, if it has any.

    Raises:
        BadInput: the file is not there or not of this env, or the run sees what is in it normalised.

    """
    path = getattr(algo_cfg, "prefill", None)
    if path is None or (begun is not None and manifest.steps_in(begun / "checkpoints")):
        return None
    for key in ("normalize_obs", "normalize_reward"):
        if getattr(cfg.env, key):
            raise BadInput(
                "what was recorded is not normalised, and this run would learn from what is",
                f"algo.prefill={path} env.{key}=true",
                f"leave env.{key} out",
            )
    rows = transition_file.read(Path(path), spec, "algo.prefill")
    return rows._replace(reward=np.sign(rows.reward)) if cfg.env.sign_reward else rows
