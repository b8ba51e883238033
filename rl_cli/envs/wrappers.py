"""TODO."""

from __future__ import annotations

import math
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium import wrappers as w

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput

Env = gym.Env[Any, Any]


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any]):
    """The same action `times` frames long; rewards are summed, an episode's end is not passed."""

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
    """A new physics world at each reset.

    BipedalWalker keeps one for life, which remembers the contacts of earlier episodes: the same
    seed and actions would give another episode in a used env than in a new one.
    """

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        import Box2D

        env = cast(Any, self.env.unwrapped)
        env._destroy()
        env.world = Box2D.b2World()
        return self.env.reset(**kwargs)


def _is_image(space: gym.Space[Any]) -> bool:
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) in (2, 3)
        and space.dtype == np.uint8
        and min(space.shape[:2]) >= 36
    )


def _stack_pixels(env: Env, cfg: EnvConfig) -> Env:
    """(H, W, 3) bytes -> (C, H, W) bytes, C = colours x stacked frames."""
    if cfg.normalize_obs:
        raise BadInput(
            "pixels are scaled to [0, 1] by the network",
            "env.normalize_obs=true",
            "leave env.normalize_obs out",
        )
    if cfg.grayscale and (env.observation_space.shape or ())[2:] == (3,):
        env = w.GrayscaleObservation(env)
    if cfg.resize is not None:
        env = w.ResizeObservation(env, (cfg.resize, cfg.resize))
    if cfg.frame_stack > 1:
        env = w.FrameStackObservation(env, cfg.frame_stack)
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


def _flatten(env: Env, cfg: EnvConfig) -> Env:
    if not env.observation_space.is_np_flattenable:
        raise BadInput(
            f"observations of {cfg.id} have no fixed size: {env.observation_space}",
            f"env.id={cfg.id}",
            "Box, Discrete, MultiBinary, MultiDiscrete, and Dict or Tuple of these can be used",
        )
    return w.FlattenObservation(env)


def without_time_limit(envs: list[Env]) -> tuple[list[Env], float]:
    """Envs of one kind without gymnasium's outermost bookkeeping, and their limit of steps.

    The two wrappers that `gymnasium.make` puts around every env cost as much as CartPole itself;
    who steps such an env counts its steps, and resets it before the first one.
    """
    first = envs[0]
    if type(first) is not w.TimeLimit:
        return envs, math.inf
    inner = [cast(w.TimeLimit[Any, Any], env).env for env in envs]
    if type(inner[0]) is w.OrderEnforcing:
        inner = [cast(w.OrderEnforcing[Any, Any], env).env for env in inner]
    return inner, first._max_episode_steps
