"""TODO."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from rl_cli.core.seeding import set_rng_state
from rl_cli.core.types import State


def begin_again(env: Any, begun: State) -> Any:
    """Reset an env to where another one like it began an episode. -> observation."""
    if "seed" in begun:
        obs, _ = env.reset(seed=cast(int, begun["seed"]))
    else:
        env.reset(seed=0)  # makes the generator whose state is then set
        set_rng_state(_env_rng(env), cast(State, begun["rng"]))
        obs, _ = env.reset()
    return obs


def _env_rng(env: Any) -> np.random.Generator:
    return cast(np.random.Generator, env.unwrapped.np_random)
