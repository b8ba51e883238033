"""Deterministic replay of an episode from its start state and its actions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from rl_cli.core.seeding import set_rng_state
from rl_cli.core.types import State
from rl_cli.envs.episode_seeds import EpisodeSeeds


def env_rng(env: Any) -> np.random.Generator:
    """The generator that an env draws its next episode from."""
    return cast(np.random.Generator, env.unwrapped.np_random)


def reset_to(env: Any, start_state: State, seeds: EpisodeSeeds | None) -> Any:
    """Reset an env to the start of a recorded episode.

    Args:
        env: of the same configuration as the one that was recorded.
        start_state: {"seed": seed of the reset} or {"rng": state of the env's generator before it};
            also the seeds of `EpisodeSeeds.begin`.
        seeds: of the env; None: it draws from its own generator only.

    Returns:
        The first observation.

    """
    seed = cast("int | None", start_state.get("seed"))
    if seed is None:
        env.reset(seed=0)  # creates the generator whose state is set next
        set_rng_state(env_rng(env), cast(State, start_state["rng"]))
    if seeds is not None:
        seeds.restore(start_state)
    obs, _ = env.reset(seed=seed)
    return obs


def replay(env: Any, start_state: State, actions: Iterable[Any], seeds: EpisodeSeeds | None) -> Any:
    """Reset an env to `start_state` and take `actions`, as `env.step` takes them.

    Stops early if the episode ends: the recorded one had not ended, so replay was not exact.

    Returns:
        The last observation.

    """
    obs = reset_to(env, start_state, seeds)
    for action in actions:
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return obs


TOO_LONG = (
    "the episode has {steps:,} steps, more than are kept for a replay; env.max_episode_steps sets a "
    "time limit"
)
OTHER_OBSERVATION = "replaying the episode of {env} did not reproduce the saved observation"
SHARED_GENERATORS = (
    "the envs of one process share its random and np.random, which a replay does not restore; "
    "env.num_envs=1 does not share them"
)
"""Why an episode is not restored exactly."""
