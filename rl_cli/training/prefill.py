"""Transitions from a file that the replay buffer starts with (`algo.prefill`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec, Transition
from rl_cli.storage import transition_file


def read_prefill(algo: AlgoConfig, env: EnvConfig, spec: EnvSpec) -> Transition | None:
    """The recorded transitions, (R, ...); None: the algorithm has no `prefill`, or it is null.

    Raises:
        BadInput: the file does not exist or is of another env, or the run normalizes what it observes
            and the recording does not.

    """
    path = getattr(algo, "prefill", None)
    if path is None:
        return None
    for key in ("normalize_obs", "normalize_reward"):
        if getattr(env, key):
            raise BadInput(
                "recorded transitions are not normalized, but this run normalizes them",
                f"algo.prefill={path} env.{key}=true",
                f"leave env.{key} out",
            )
    rows = transition_file.read(Path(path), spec, "algo.prefill")
    return rows._replace(reward=np.sign(rows.reward)) if env.sign_reward else rows
