"""Deterministic replay of an episode from its start state and its actions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from rl_cli.core.seeding import set_rng_state
from rl_cli.core.types import State


def env_rng(env: Any) -> np.random.Generator:
    """The generator that an env draws its next episode from."""
    return cast(np.random.Generator, env.unwrapped.np_random)


def reset_to(env: Any, start_state: State) -> Any:
    """Reset an env to the start of a recorded episode.

    Args:
        env: of the same configuration as the one that was recorded.
        start_state: {"seed": seed of the reset} or {"rng": state of the env's generator before it}.

    Returns:
        The first observation.

    """
    if "seed" in start_state:
        obs, _ = env.reset(seed=cast(int, start_state["seed"]))
    else:
        env.reset(seed=0)  # creates the generator whose state is set next
        set_rng_state(env_rng(env), cast(State, start_state["rng"]))
        obs, _ = env.reset()
    return obs


def replay(env: Any, start_state: State, actions: Iterable[Any]) -> Any:
    """Reset an env to `start_state` and take `actions`, as `env.step` takes them.

    Stops early if the episode ends: the recorded one had not ended, so replay was not exact.

    Returns:
        The last observation.

    """
    obs = reset_to(env, start_state)
    for action in actions:
        obs, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
    return obs
