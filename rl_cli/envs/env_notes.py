"""Notes about an env from which little or nothing can be learned without a change."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.core.errors import plain
from rl_cli.envs.images import SMALLEST
from rl_cli.envs.observations import EncodedObservations, Leaf, ObservationEncoder

MIN_SIDE = 8
"""Sides from which a two-dimensional uint8 observation is taken for an image."""


def notes_of(env: gym.Env[Any, Any]) -> list[str]:
    """Lines for the user about an env with its wrappers."""
    lines = [*dropped_notes(env), image_note(env), one_action_note(env)]
    return [note for note in lines if note is not None]


def one_action_note(env: gym.Env[Any, Any]) -> str | None:
    """The line for an env whose agent has no choice."""
    space = env.action_space
    is_one = (
        (isinstance(space, spaces.Discrete) and space.n == 1)
        or (isinstance(space, spaces.MultiDiscrete) and bool((space.nvec == 1).all()))
        or (isinstance(space, spaces.Box) and bool((space.low == space.high).all()))
    )
    return f"the env has one action, {space}: there is nothing to learn" if is_one else None


def dropped_notes(env: gym.Env[Any, Any]) -> list[str]:
    """A line for each part of the observations that is left out.

    Args:
        env: with its wrappers.

    """
    dropped = env.encoder.dropped if isinstance(env, EncodedObservations) else []
    return [
        f"{'part ' * part.name[:1].isdigit()}{part.name} of the observations is left out: no network here reads {_short(part)}"
        for part in dropped
    ]


def _short(part: Leaf) -> str:
    text = plain(str(part.space))
    return text if len(text) <= 60 else type(part.space).__name__


def image_note(env: gym.Env[Any, Any]) -> str | None:
    """A line about image-like observations that are flattened; None: there are none.

    Args:
        env: with its wrappers.

    """
    if not isinstance(env, EncodedObservations):
        return None
    found = _flattened_images(env.encoder)
    if not found:
        return None
    box = found[0]
    what = f"images of shape {box.shape} ({box.dtype}) are flattened to {math.prod(box.shape):,} values"
    return f"{what}: {_why(box, env.encoder)}"


def _flattened_images(encoder: ObservationEncoder) -> list[spaces.Box]:
    pairs = zip(encoder.leaves, encoder.forms, strict=True)
    boxes = [leaf.space for leaf, form in pairs if form is None]
    return [box for box in boxes if isinstance(box, spaces.Box) and _is_image_like(box)]


def _why(box: spaces.Box, encoder: ObservationEncoder) -> str:
    if encoder.flatten:
        return "env.flatten=false sends them through an encoder of images"
    if sorted(box.shape)[-2] >= SMALLEST:
        return "env.channels_first=true sends them through an encoder of images"
    return f"images have {SMALLEST}x{SMALLEST} pixels or more"


def _is_image_like(box: spaces.Box) -> bool:
    if len(box.shape) == 3:
        return True
    return len(box.shape) == 2 and box.dtype == np.uint8 and min(box.shape) >= MIN_SIDE
