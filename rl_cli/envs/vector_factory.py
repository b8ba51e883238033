"""Constructor of the training envs."""

from __future__ import annotations

import time
from typing import NamedTuple

from rl_cli.config.run import MAX_WORKERS, RunConfig
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput
from rl_cli.core.processes import can_fork
from rl_cli.core.processors import number_of
from rl_cli.core.seeding import env_seeds, globals_kept
from rl_cli.envs.faults import close_env, faults_at
from rl_cli.envs.make import make_env
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv


def make_envs(cfg: RunConfig) -> VectorEnv:
    """The training envs: in this process, or in `workers` child processes.

    Raises:
        BadInput: workers > 0 on a platform without fork.

    """
    seeds = env_seeds(cfg.seed, cfg.env.num_envs)
    workers = _chosen(cfg) if cfg.workers == "auto" else cfg.workers
    if not workers:
        return VectorEnv(cfg.env, seeds)
    if not can_fork():
        raise BadInput(
            "env processes need fork, which this system does not support",
            f"workers={cfg.workers}",
            "use workers=0: all envs step in this process",
        )
    return WorkerVectorEnv(cfg.env, seeds, workers, cfg.step_timeout)


PAYS_FROM = 0.5e-3
"""Seconds of a step from which a process of its own pays: two messages take a tenth of that."""

WAITS = 0.5
"""Share of a step's time on a processor below which the env waits: for a simulator, a socket, a clock."""

STEPS, SECONDS = 50, 1.0
"""Steps, and about how long, for the measurement."""


class StepTime(NamedTuple):
    """Seconds that a step of one env takes, and those of them on a processor of this process."""

    wall: float
    processor: float


def workers_for(step: StepTime, envs: int, processors: int) -> int:
    """How many processes step the envs best; 0: this one.

    An env that waits lets others run, so each gets a process. One that computes needs a processor.
    """
    if envs < 2 or step.wall < PAYS_FROM:
        return 0
    if step.processor < WAITS * step.wall:
        return min(envs, MAX_WORKERS)
    return min(envs, processors) if processors > 1 else 0


def _chosen(cfg: RunConfig) -> int:
    if cfg.env.num_envs < 2 or not can_fork():
        return 0
    step = _measured(cfg)
    workers = workers_for(step, cfg.env.num_envs, number_of("auto"))
    if workers and cfg.shown != "none":
        terminal.say(
            f"workers=auto: {workers}; a step takes {1000 * step.wall:.1f} ms, "
            f"{1000 * step.processor:.1f} ms of it on a processor"
        )
    return workers


def _measured(cfg: RunConfig) -> StepTime:
    """The time of random steps of one env, which is closed again."""
    with globals_kept():
        env = make_env(cfg.env)
        try:
            with faults_at("measuring the time of a step, for workers=auto"):
                env.action_space.seed(0)
                env.reset(seed=0)
                wall, processor, steps = time.perf_counter(), time.process_time(), 0
                while steps < STEPS and time.perf_counter() - wall < SECONDS:
                    *_, terminated, truncated, _ = env.step(env.action_space.sample())
                    steps += 1
                    if terminated or truncated:
                        env.reset()
                wall, processor = time.perf_counter() - wall, time.process_time() - processor
        finally:
            close_env(env)
    return StepTime(wall / steps, processor / steps)
