"""Observation and action spaces: `EnvSpec`, action decoding, frame rate, success threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, EnvSpec
from rl_cli.envs.observations import parts_of
from rl_cli.envs.wrappers import Env

DEFAULT_FPS, MAX_FPS = 30.0, 10_000.0


def spec_of(env: Env, cfg: EnvConfig) -> EnvSpec:
    """Shapes and types of observations and actions of an env that `make_env` made.

    Raises:
        BadInput: the action space is not Discrete, MultiDiscrete, MultiBinary or Box; a space has no values.

    """
    obs_shape = env.observation_space.shape
    assert obs_shape is not None
    for name, space in (("observations", env.observation_space), ("actions", env.action_space)):
        if 0 in (space.shape or ()):
            what = f"{name} of {cfg.id} have no values: {space}"
            raise BadInput(what, f"env.id={cfg.id}", "declare a space of at least one value")
    parts, pixels = parts_of(env), env.observation_space.dtype == np.uint8
    is_image = len(obs_shape) == 3
    return EnvSpec(
        obs_shape,
        "uint8" if pixels and any(part.is_image for part in parts) else "float32",
        _action_spec(env, cfg),
        cfg.num_envs,
        obs_shape[0] // cfg.frame_stack if is_image and pixels else 0,
        parts,
    )


def _action_spec(env: Env, cfg: EnvConfig) -> ActionSpec:
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", (), (int(space.n),))
    if isinstance(space, spaces.MultiDiscrete):
        return ActionSpec("multidiscrete", space.shape, tuple(int(n) for n in space.nvec.flat))
    if isinstance(space, spaces.MultiBinary):  # choices of two
        return ActionSpec("multidiscrete", space.shape, (2,) * math.prod(space.shape))
    if isinstance(space, spaces.Box):
        low, high = (tuple(float(x) for x in bound.flat) for bound in (space.low, space.high))
        return ActionSpec("box", space.shape, (), low, high)
    raise BadInput(
        f"the action space of {cfg.id} is {space}",
        f"env.id={cfg.id}",
        "supported: Discrete, MultiDiscrete, MultiBinary and Box; a wrapper (env.wrappers) can turn others into one of them",
    )


def raw_dtype(env: Env, cfg: EnvConfig, spec: EnvSpec) -> np.dtype[Any]:
    """Dtype of observations before normalization.

    float64 is kept where it is declared, because a float32 of 1e8 + 1 is 1e8, whose distance to the mean
    is lost.
    """
    if not cfg.normalize_obs or spec.has_images:
        return np.dtype(spec.obs_dtype)
    return np.result_type(np.dtype(env.observation_space.dtype), np.float32)


def action_decoder(
    space: gym.Space[Any], fast: bool = False
) -> Callable[[np.ndarray], Sequence[Any]]:
    """Function from (N, *action_shape) to N actions as `space.sample()` gives them.

    Actions of a Box are clipped to its bounds; those of whole numbers are rounded before.

    Args:
        space: of the actions.
        fast: Discrete actions are Python integers, which the fast envs take; a numpy integer would make
            their arithmetic slower.

    """
    if isinstance(space, spaces.Discrete):
        start, kind = int(space.start), space.dtype
        if fast:
            return lambda rows: rows.tolist() if start == 0 else (rows + start).tolist()
        if start == 0 and kind == np.int64:
            return list
        return lambda rows: list((rows + start).astype(kind, copy=False))
    if isinstance(space, spaces.Box):
        decode = _box_decoder(space)
        # an element of an array of shape (N,) is a number; the env expects an array of shape ()
        return decode if space.shape else lambda rows: [np.asarray(a) for a in decode(rows)]
    first = space.start if isinstance(space, spaces.MultiDiscrete) else 0
    integer = space.dtype
    return lambda rows: list((rows + first).astype(integer, copy=False))


def _box_decoder(space: spaces.Box) -> Callable[[np.ndarray], Sequence[Any]]:
    low, high, dtype = space.low, space.high, space.dtype
    if dtype.kind == "f":
        return lambda rows: list(np.minimum(np.maximum(rows, low), high).astype(dtype, copy=False))
    smallest, largest = low.astype(np.float64), high.astype(np.float64)  # 2**63 - 1 becomes 2**63

    def whole(rows: np.ndarray) -> Sequence[Any]:
        points = np.rint(rows.astype(np.float64))
        inside = (points > smallest) & (points < largest)
        bounds = np.where(points <= smallest, low, high)
        return list(np.where(inside, np.where(inside, points, 0).astype(dtype), bounds))

    return whole


def fps_of(env: Env, cfg: EnvConfig) -> float:
    """Frames per second of real-time playback with one frame per action."""
    try:
        fps = float(env.metadata.get("render_fps") or DEFAULT_FPS)
    except (AttributeError, TypeError, ValueError):  # the env may declare anything
        fps = DEFAULT_FPS
    return (fps if 0 < fps < MAX_FPS else DEFAULT_FPS) / cfg.frame_skip


def draws_images(env: Env) -> bool:
    """Whether an env declares that it can render images."""
    try:
        return "rgb_array" in (env.metadata.get("render_modes") or ())
    except (AttributeError, TypeError):  # the env may declare anything
        return False


def success_threshold(env: Env, cfg: EnvConfig) -> float | None:
    """Return from which an episode is a success: env.success_at or the registered threshold."""
    if cfg.success_at is not None:
        return cfg.success_at
    threshold = env.spec.reward_threshold if env.spec is not None else None
    is_number = isinstance(threshold, (int, float)) and math.isfinite(threshold)
    return float(cast(float, threshold)) if is_number else None
