"""What to say about an env from which little or nothing can be learned as it is."""

from __future__ import annotations

import math
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium import wrappers as w

from rl_cli.envs.wrappers import is_channels_first

MIN_SIDE = 8
"""Sides from which a two-dimensional uint8 observation is taken for an image."""

WHAT_HELPS = (
    "the Nature CNN reads uint8 images of at least 36x36 pixels, (H, W), (H, W, C) or (C, H, W)"
)


def notes_of(env: gym.Env[Any, Any]) -> list[str]:
    """Lines for the user about an env with its wrappers."""
    return [note for note in (image_note(env), one_action_note(env)) if note is not None]


def one_action_note(env: gym.Env[Any, Any]) -> str | None:
    """The line for an env whose agent has no choice."""
    space = env.action_space
    is_one = (
        (isinstance(space, spaces.Discrete) and space.n == 1)
        or (isinstance(space, spaces.MultiDiscrete) and bool((space.nvec == 1).all()))
        or (isinstance(space, spaces.Box) and bool((space.low == space.high).all()))
    )
    return f"the env has one action, {space}: there is nothing to learn" if is_one else None


def image_note(env: gym.Env[Any, Any]) -> str | None:
    """A line about image-like observations that are flattened; None: there are none.

    Args:
        env: with its wrappers.

    """
    while isinstance(env, gym.Wrapper):
        inner = cast(Any, env.env)
        if isinstance(env, w.FlattenObservation):
            stacked = isinstance(inner, w.FrameStackObservation)
            space = inner.env.observation_space if stacked else inner.observation_space
            if note := _about(space):
                return note
        env = inner
    return None


def _about(space: gym.Space[Any]) -> str | None:
    found = [box for box in _boxes(space) if _is_image_like(box)]
    if not found:
        return None
    shape = found[0].shape
    what = f"images of shape {shape} ({found[0].dtype}) go through an MLP, flattened to"
    helps = WHAT_HELPS
    if is_channels_first(space):  # switched off
        helps = "env.channels_first=true sends them through the Nature CNN"
    elif space is not found[0]:
        helps = "the Nature CNN reads images that are the whole observation"
    return f"{what} {math.prod(shape):,} values; {helps}"


def _boxes(space: gym.Space[Any]) -> list[spaces.Box]:
    """The Box spaces in a space."""
    if isinstance(space, spaces.Dict):
        return [box for part in space.spaces.values() for box in _boxes(part)]
    if isinstance(space, spaces.Tuple):
        return [box for part in space.spaces for box in _boxes(part)]
    return [space] if isinstance(space, spaces.Box) else []


def _is_image_like(box: spaces.Box) -> bool:
    if len(box.shape) == 3:
        return True
    return len(box.shape) == 2 and box.dtype == np.uint8 and min(box.shape) >= MIN_SIDE
