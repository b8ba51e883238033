"""Wrappers: action repeat, pixel preprocessing, flattening, a new physics world per episode."""

from __future__ import annotations

import math
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


def is_image(space: gym.Space[Any]) -> bool:
    """Whether observations are uint8 images, (H, W) or (H, W, C), of at least 36x36 pixels."""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) in (2, 3)
        and space.dtype == np.uint8
        and min(space.shape[:2]) >= 36
    )


def is_channels_first(space: gym.Space[Any]) -> bool:
    """Whether observations are uint8 images (C, H, W), C = 1 to 4, of at least 36x36 pixels."""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) == 3
        and space.dtype == np.uint8
        and space.shape[0] <= 4
        and min(space.shape[1:]) >= 36
    )


def channels_last(env: Env) -> Env:
    """Transpose images (C, H, W) to (H, W, C)."""
    space = cast(spaces.Box, env.observation_space)
    low, high = space.low.transpose(1, 2, 0), space.high.transpose(1, 2, 0)
    return w.TransformObservation(
        env, lambda obs: np.asarray(obs).transpose(1, 2, 0), spaces.Box(low, high, dtype=np.uint8)
    )


def stack_pixels(env: Env, cfg: EnvConfig) -> Env:
    """Convert uint8 (H, W) or (H, W, c) frames to (C, H, W), C = frame_stack * c, oldest first.

    Raises:
        BadInput: normalize_obs is set.

    """
    if cfg.normalize_obs:
        raise BadInput(
            "the network scales pixels to [0, 1]; normalize_obs applies to vectors only",
            "env.normalize_obs=true",
            "leave env.normalize_obs out",
        )
    if cfg.grayscale and (env.observation_space.shape or ())[2:] == (3,):
        env = w.GrayscaleObservation(env)
    if cfg.resize is not None:
        env = w.ResizeObservation(env, (cfg.resize, cfg.resize))
    if cfg.frame_stack > 1:
        env = stack_frames(env, cfg.frame_stack)
    shape = env.observation_space.shape or ()
    stacked = shape if cfg.frame_stack > 1 else (1, *shape)  # (K, H, W) or (K, H, W, 3)
    channels = stacked[3] if len(stacked) == 4 else 1
    size = (stacked[0] * channels, *stacked[1:3])

    def channels_first(obs: Any) -> np.ndarray:
        frames = np.asarray(obs).reshape(stacked)
        if channels > 1:
            frames = frames.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(frames.reshape(size))

    return w.TransformObservation(env, channels_first, spaces.Box(0, 255, size, np.uint8))


def stack_frames(env: Env, count: int) -> Env:
    """Stack the last `count` observations. Copies: an env may return the same array each time."""
    copies = w.TransformObservation(env, lambda obs: np.array(obs), env.observation_space)
    return w.FrameStackObservation(copies, count)


def flatten(env: Env, cfg: EnvConfig) -> Env:
    """Flatten any observation of a fixed size to a vector.

    Raises:
        BadInput: the size is not fixed.

    """
    try:
        fixed = bool(env.observation_space.is_np_flattenable)
    except NotImplementedError:  # a space of the env's own
        fixed = False
    if not fixed:
        raise BadInput(
            f"observations of {cfg.id} have no fixed size: {env.observation_space}",
            f"env.id={cfg.id}",
            "supported: Box, Discrete, MultiBinary, MultiDiscrete, and Dict or Tuple of these",
        )
    return w.FlattenObservation(env)


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
