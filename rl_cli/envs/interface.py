"""What `make_env` does with observations and actions, for observations that come from elsewhere."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.config.env import EnvConfig
from rl_cli.envs.make import as_bad_input, interface
from rl_cli.envs.spaces import action_decoder


class _Source(gym.Env[Any, Any]):
    """Takes the place of an env: it returns the observation in `obs`."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.obs: Any = None

    def receive(self, obs: Any) -> None:
        """Set the observation that the next `reset` or `step` returns."""
        self.obs = obs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return self.obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.obs, 0.0, False, False, {}


class Interface:
    """Between one stream of observations and a policy: the wrappers of `make_env` on a placeholder for the env.

    So an observation is converted in one way, in training and afterwards.

    Args:
        observation_space, action_space: of the env that `make_own_env` made.
        cfg: what `make_own_env` left of its configuration.

    Raises:
        BadInput: as `make_env`.

    """

    def __init__(
        self, observation_space: gym.Space[Any], action_space: gym.Space[Any], cfg: EnvConfig
    ) -> None:
        self.source = _Source(observation_space, action_space)
        with as_bad_input(cfg):
            self.env = interface(self.source, cfg)
        self.has_memory = cfg.frame_stack > 1
        self.is_identity = self.env is self.source
        self.idle = self.env.action_space.sample()  # any action: `step` ignores it
        self.decode = action_decoder(self.env.action_space)
        self.is_first = True

    def restart(self) -> None:
        """The next observation is the first one of an episode."""
        self.is_first = True

    def observe(self, obs: Any) -> Any:
        """An observation of the env -> the observation of the policy, before normalization."""
        self.source.receive(obs)
        seen = self.env.reset()[0] if self.is_first else self.env.step(self.idle)[0]
        self.is_first = False
        return seen

    def actions(self, rows: np.ndarray) -> list[Any]:
        """Actions of the policy (N, *action_shape) -> N actions of the env."""
        return [self._action(action) for action in self.decode(rows)]

    def _action(self, action: Any) -> Any:
        env: Any = self.env
        while env is not self.source:
            if isinstance(env, gym.ActionWrapper):
                action = env.action(action)
            env = env.env
        return action


def rows_of(space: gym.Space[Any], obs: Any) -> list[Any] | None:
    """The observations of a batch; None: it is a single observation.

    Args:
        space: of one observation.
        obs: one observation, a list of several, or what a vector env of gymnasium returns: arrays with the
            envs as their first axis.

    Raises:
        ValueError: it is neither.

    """
    extra = _extra_axes(space, obs)
    if extra == 0:
        return None
    if extra != 1:
        raise ValueError(f"an observation has the space {space}")
    if isinstance(obs, list) or not isinstance(space, spaces.Dict | spaces.Tuple):
        return list(obs)
    size = next(len(part) for leaf, part in _leaves(space, obs) if leaf.shape is not None)
    return [_row(space, obs, i) for i in range(size)]


def _row(space: gym.Space[Any], obs: Any, i: int) -> Any:
    """Observation i of a batch, whose innermost parts have the envs as their first axis."""
    if isinstance(space, spaces.Dict):
        return {key: _row(inner, obs[key], i) for key, inner in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_row(inner, part, i) for inner, part in zip(space, obs, strict=True))
    return obs[i]


def _leaves(space: gym.Space[Any], obs: Any) -> list[tuple[gym.Space[Any], Any]]:
    """The innermost spaces with their parts of an observation."""
    if isinstance(space, spaces.Dict):
        return [leaf for key, inner in space.items() for leaf in _leaves(inner, obs[key])]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, inner in enumerate(space) for leaf in _leaves(inner, obs[i])]
    return [(space, obs)]


def _extra_axes(space: gym.Space[Any], obs: Any) -> int:
    """Axes of `obs` in front of those of the space. -1: its shape is another one.

    Parts without a fixed shape (Text, Sequence, Graph) do not count: their values have axes of their own.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple) and isinstance(obs, list):
        return 1
    try:
        leaves = _leaves(space, obs)
        found = {_extra_of_leaf(*leaf) for leaf in leaves if leaf[0].shape is not None}
    except (KeyError, IndexError, TypeError):
        return -1
    if not found:
        return int(isinstance(obs, list))
    return found.pop() if len(found) == 1 else -1


def _extra_of_leaf(space: gym.Space[Any], value: Any) -> int:
    shape, inner = np.shape(value), space.shape or ()
    extra = len(shape) - len(inner)
    return extra if extra >= 0 and shape[extra:] == inner else -1
