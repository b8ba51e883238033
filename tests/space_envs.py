"""One-step envs of any spaces, whose reward depends on the observation or on the action."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.envs.vector import VectorEnv
from tests.algos.test_algorithms import env_config


class Signaled(gym.Env):
    """The observation contains a bit; the reward is 1 for it as action, else -1.

    The parts that `silent` names are random.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, space, silent=(), render_mode=None):
        self.observation_space, self.silent = space, silent
        self.action_space, self.render_mode = spaces.Discrete(2), render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bit = int(self.np_random.integers(2))
        return signal(self.observation_space, self.bit, self.silent), {}

    def step(self, action):
        obs = signal(self.observation_space, self.bit, self.silent)
        return obs, 1.0 if action == self.bit else -1.0, True, False, {}


class Wanted(gym.Env):
    """The reward is minus the distance of the action from `best`, a member of the action space."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, space, best, scale=1.0, render_mode=None):
        self.action_space, self.best, self.scale = space, np.asarray(best, np.float64), scale
        self.render_mode, self.taken = render_mode, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, self.action_space)
        assert type(action) is type(self.action_space.sample())
        self.taken.append(action)
        distance = float(np.abs(np.asarray(action, np.float64) - self.best).mean())
        return np.zeros(1, np.float32), -distance / self.scale, True, False, {}


def signal(space, bit, silent=(), name=""):
    """A member of a space from which the bit can be read, unless its name is in `silent`."""
    if name in silent:
        return space.sample()
    if isinstance(space, spaces.Dict):
        return {k: signal(s, bit, silent, f"{name}.{k}" if name else k) for k, s in space.items()}
    if isinstance(space, spaces.Tuple):
        parts = enumerate(space.spaces)
        return tuple(signal(s, bit, silent, f"{name}.{i}" if name else str(i)) for i, s in parts)
    if isinstance(space, spaces.Discrete):
        return space.dtype.type(space.start + bit * (space.n - 1))
    if isinstance(space, spaces.MultiDiscrete):
        return (space.start + bit * (space.nvec - 1)).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return np.full(space.shape, bit, space.dtype)
    if not isinstance(space, spaces.Box):
        return space.sample()
    low = np.where(space.bounded_below, space.low.astype(float), -1.0)
    high = np.where(space.bounded_above, space.high.astype(float), low + 2.0)
    low = np.where(space.bounded_below, low, high - 2.0)
    return (low + (high - low) * bit).astype(space.dtype)


def envs_of(make, num_envs=4, **changes):
    """The vector env of copies of `make()`."""
    gym.register("TestSpaces-v0", make)
    try:
        return VectorEnv(
            env_config("TestSpaces-v0", num_envs=num_envs, **changes), [*range(num_envs)]
        )
    finally:
        del gym.registry["TestSpaces-v0"]
