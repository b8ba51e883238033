"""Observations that a policy meets in its env, on which an exported policy is compared with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rl_cli.core import terminal
from rl_cli.core.errors import RunError, first_line, plain
from rl_cli.core.seeding import globals_kept
from rl_cli.envs.faults import env_fault, is_signal
from rl_cli.evaluation.agent import Agent
from rl_cli.evaluation.evaluator import Evaluator
from rl_cli.evaluation.watchdog import close_in_time

SEED = 20_000
"""Episode i is reset with SEED + i, as by rl-eval."""

SAMPLES = 256
"""Observations that are drawn from the space where the env cannot be played."""


class Recorded(NamedTuple):
    """Observations before normalization, (T, *obs_shape), and where they are from."""

    obs: np.ndarray
    origin: str


class _Enough(Exception):
    """The requested number of observations."""


def record(agent: Agent, count: int) -> Recorded:
    """Play greedy episodes until `count` observations are recorded.

    Where the env raises an error, the observations are samples of its space, and a line says so.

    Args:
        agent: the policy and its env.
        count: number of observations.

    Raises:
        RunError: the env could not be made, or it has no finite observations.

    """
    try:
        return _played(agent, count)
    except RunError as problem:
        terminal.warn(
            f"note: the env cannot be played ({plain(problem.what)}); the policies are compared on "
            "samples of the observation space"
        )
        return _sampled(agent)


def _played(agent: Agent, count: int) -> Recorded:
    rows: list[np.ndarray] = []

    def policy(obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        if len(rows) == count:
            raise _Enough
        rows.append(obs[0].copy())
        return agent.predict(obs, rng)

    # without a normalizer, so that it passes on what the env returns
    evaluator = Evaluator(agent.env_cfg, None)
    episodes = 0
    try:
        with globals_kept():
            while len(rows) < count:
                evaluator.episode(policy, SEED + episodes, greedy=True)
                episodes += 1
    except _Enough:
        episodes += 1
    except BaseException as error:
        if is_signal(error):
            raise
        raise env_fault(error, f"episode of seed {SEED + episodes}") from error
    finally:
        if problem := close_in_time(evaluator.env):
            terminal.warn(f"note: {first_line(RuntimeError(problem))}")
    many = "s" if episodes != 1 else ""
    return Recorded(np.stack(rows), f"{len(rows):,} observations of {episodes} episode{many}")


def _sampled(agent: Agent) -> Recorded:
    space = agent.interfaces[0].env.observation_space
    space.seed(SEED)
    rows = np.stack([np.asarray(space.sample(), agent.dtype) for _ in range(SAMPLES)])
    return Recorded(rows, f"{SAMPLES} samples of the observation space")
