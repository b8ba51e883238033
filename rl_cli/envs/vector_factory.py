"""Constructor of the training envs."""

from __future__ import annotations

import os

from rl_cli.config.run import RunConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.seeding import env_seeds
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv


def make_envs(cfg: RunConfig) -> VectorEnv:
    """The training envs: in this process, or in `workers` child processes.

    Raises:
        BadInput: workers > 0 on a platform without fork.

    """
    seeds = env_seeds(cfg.seed, cfg.env.num_envs)
    if not cfg.workers:
        return VectorEnv(cfg.env, seeds)
    if not hasattr(os, "fork"):
        raise BadInput(
            "worker processes are started with os.fork, which this platform does not have",
            f"workers={cfg.workers}",
            "workers=0 steps the envs in this process",
        )
    return WorkerVectorEnv(cfg.env, seeds, cfg.workers, cfg.step_timeout)
