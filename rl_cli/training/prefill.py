"""Transitions from a file that the replay buffer starts with (`algo.prefill`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec, Transition
from rl_cli.envs.normalization import RewardNormalizer
from rl_cli.storage import transition_file


def read_prefill(
    algo: AlgoConfig, env: EnvConfig, spec: EnvSpec, normalizer: RewardNormalizer | None
) -> Transition | None:
    """The recorded transitions, (R, ...); None: the algorithm has no `prefill`, or it is null.

    Args:
        algo: configuration of the algorithm.
        env: configuration of the envs.
        spec: of the env.
        normalizer: of rewards, if the run normalizes them; its statistics then include the recorded ones.

    Raises:
        BadInput: the file does not exist or is of another env, or the run normalizes observations.

    """
    path = getattr(algo, "prefill", None)
    if path is None:
        return None
    if env.normalize_obs:
        raise BadInput(
            "recorded observations are not normalized, but this run normalizes them",
            f"algo.prefill={path} env.normalize_obs=true",
            "env.normalize_obs=false",
        )
    rows = transition_file.read(Path(path), spec, "algo.prefill")
    if normalizer is not None:
        ends = rows.terminated | rows.truncated
        return rows._replace(reward=normalizer.recorded(rows.reward, ends))
    return rows._replace(reward=np.sign(rows.reward)) if env.sign_reward else rows
