"""Wrappers: action repeat, scaled actions, a new physics world per episode."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium import wrappers as w

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput
from rl_cli.envs.checked import Checked

Env = gym.Env[Any, Any]


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any]):
    """Repeats each action `times` times, or until the episode ends; rewards are summed."""

    def __init__(self, env: Env, times: int) -> None:
        super().__init__(env)
        self.times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total = 0.0
        for _ in range(self.times):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


class DrawsOnRequest(ABC):
    """Base of envs whose steps can leave out drawing the frame that they return."""

    @abstractmethod
    def without_frames(self) -> contextlib.AbstractContextManager[None]:
        """Within it, steps return an old frame."""

    @abstractmethod
    def frame(self) -> np.ndarray:
        """The frame that the last step would have returned."""


class OneFrameRepeat(ActionRepeat):
    """ActionRepeat that draws one frame per repeated action.

    Args:
        env: with wrappers that neither read nor change a frame.
        times: how often an action is repeated.
        game: `env.unwrapped`.

    """

    def __init__(self, env: Env, times: int, game: DrawsOnRequest) -> None:
        super().__init__(env, times)
        self.game = game

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        with self.game.without_frames():
            _, reward, terminated, truncated, info = super().step(action)
        return self.game.frame(), reward, terminated, truncated, info


def repeat_actions(env: Env, cfg: EnvConfig) -> Env:
    """Repeat each action `frame_skip` times."""
    if cfg.frame_skip == 1:
        return env
    game = env.unwrapped
    if isinstance(game, DrawsOnRequest):
        return OneFrameRepeat(env, cfg.frame_skip, game)
    return ActionRepeat(env, cfg.frame_skip)


class FreshWorld(gym.Wrapper[Any, Any, Any, Any]):
    """Creates a new Box2D world at each reset of BipedalWalker.

    BipedalWalker reuses its world, which caches contacts of earlier episodes, so that an episode
    would not be determined by its seed and actions alone.
    """

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        import Box2D

        env = cast(Any, self.env.unwrapped)
        env._destroy()
        env.world = Box2D.b2World()
        return self.env.reset(**kwargs)


def scale_actions(env: Env) -> Env:
    """Map actions in [-1, 1] to the bounds of the action space.

    Raises:
        BadInput: the action space is no Box with finite bounds.

    """
    space = env.action_space
    if not (isinstance(space, spaces.Box) and space.is_bounded()):
        raise BadInput(
            f"actions are scaled to the bounds of a finite Box; the action space is {space}",
            "env.scale_actions=true",
            "leave env.scale_actions out",
        )
    low, high, dtype = space.low.astype(np.float64), space.high.astype(np.float64), space.dtype
    whole_numbers = np.issubdtype(dtype, np.integer)

    def scaled(action: Any) -> np.ndarray:
        point = low + (np.asarray(action, np.float64) + 1.0) / 2.0 * (high - low)
        point = np.clip(np.rint(point) if whole_numbers else point, low, high)
        return point.astype(dtype)

    return w.TransformAction(env, scaled, spaces.Box(-1.0, 1.0, space.shape, np.float32))


def without_time_limit(envs: list[Env]) -> tuple[list[Env], float]:
    """Remove the outermost `TimeLimit` and `OrderEnforcing` of envs of the same kind.

    These two wrappers take as long as a step of CartPole. The caller must count the steps and reset
    each env before its first step.

    Returns:
        The inner envs, and the time limit in steps (inf: none).

    """
    if isinstance(envs[0], Checked):
        inner, limit = without_time_limit([cast(Checked, env).env for env in envs])
        return ([Checked(env) for env in inner] if math.isfinite(limit) else envs), limit
    first = envs[0]
    if type(first) is not w.TimeLimit:
        return envs, math.inf
    inner = [cast(w.TimeLimit[Any, Any], env).env for env in envs]
    if type(inner[0]) is w.OrderEnforcing:
        inner = [cast(w.OrderEnforcing[Any, Any], env).env for env in inner]
    return inner, first._max_episode_steps
