"""Constructor of the training envs."""

from __future__ import annotations

from rl_cli.config.run import RunConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.processes import can_fork
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
    if not can_fork():
        raise BadInput(
            "env processes need fork, which this system does not support",
            f"workers={cfg.workers}",
            "use workers=0: all envs step in this process",
        )
    return WorkerVectorEnv(cfg.env, seeds, cfg.workers, cfg.step_timeout)
