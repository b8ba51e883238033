"""Checkpoint format of stacked frames: each frame is stored once.

With k frames to an observation, `obs` and `next_obs` of consecutive rows hold each frame 2k times.
What can be derived from other rows is left out:

    obs       equals the next_obs of the row `lag` before, while an episode continues
    next_obs  is obs without its oldest frame, followed by a new frame

A row for which one of these does not hold (the start of an episode, a wrapped buffer) keeps the full
observation, so that any rows are restored exactly. The columns obs and next_obs become

    obs_whole       (F, C, H, W)  obs of the rows where it is not derived, in order
    next_obs_whole  (G, C, H, W)  next_obs of the rows where it is not derived
    next_obs_frame  (R - G, c, H, W)  the last c channels of the other rows
    derived         (R,) uint8  OBS | NEXT_OBS
    lag             () int64  rows between two steps of one env
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np

from rl_cli.core.fields import Fields, StateError, integer
from rl_cli.core.types import Arrays, EnvSpec

OBS, NEXT_OBS = 1, 2

COLUMNS = ("obs_whole", "next_obs_whole", "next_obs_frame", "derived", "lag")

PROBES = 16
"""Rows that are compared to find the number of channels of a frame."""


def pack(rows: Arrays, lag: int) -> Arrays:
    """Pack the pixel columns of consecutive transitions.

    Args:
        rows: column name -> (R, ...); returned unchanged unless `obs` is uint8 (R, C, H, W).
        lag: rows between two steps of one env.

    """
    obs, next_obs = rows["obs"], rows["next_obs"]
    if obs.ndim != 4 or obs.dtype != np.uint8:
        return rows
    frame = _frame_channels(obs, next_obs)
    moved = np.array([_is_moved_on(*pair, frame) for pair in zip(obs, next_obs, strict=True)])
    follows = np.zeros(len(obs), bool)
    for i in range(lag, len(obs)):
        follows[i] = _is_same(obs[i], next_obs[i - lag])
    others = {name: rows[name] for name in rows if name not in ("obs", "next_obs")}
    frames = next_obs[moved, -frame:]
    return others | packed(obs[~follows], next_obs[~moved], frames, follows, moved, lag)


def packed(
    obs_whole: np.ndarray,
    next_obs_whole: np.ndarray,
    next_obs_frame: np.ndarray,
    follows: np.ndarray,
    moved: np.ndarray,
    lag: int,
) -> Arrays:
    """The packed columns; `follows` and `moved`, (R,) bool, say where obs and next_obs are derived."""
    return {
        "obs_whole": obs_whole,
        "next_obs_whole": next_obs_whole,
        "next_obs_frame": next_obs_frame,
        "derived": (follows * OBS | moved * NEXT_OBS).astype(np.uint8),
        "lag": np.array(lag),
    }


def checked(rows: Mapping[str, object], spec: EnvSpec) -> Arrays:
    """The columns of a checkpoint, where packed of the shapes of these envs.

    Raises:
        StateError: names the column that is not.

    """
    fields = Fields(rows)
    if "derived" not in rows:
        return cast(Arrays, fields.state)
    derived = fields.array("derived", (None,), np.uint8, high=OBS | NEXT_OBS)
    if len(spec.obs_shape) != 3:
        raise StateError("the rows have frames, and the observations of this env have none")
    for name in ("obs_whole", "next_obs_whole"):
        fields.array(name, (None, *spec.obs_shape), np.uint8)
    frames = fields.array("next_obs_frame", (None, None, *spec.obs_shape[1:]), np.uint8)
    integer(frames.shape[1], "channels of next_obs_frame", 1, spec.obs_shape[0])
    lag = fields.array("lag", (), np.int64).item()
    integer(lag, "lag", 1, max(len(derived), spec.num_envs))
    return cast(Arrays, fields.state)


def unpack(rows: Arrays) -> Arrays:
    """The inverse of `pack`; rows that are not packed are returned unchanged.

    Raises:
        StateError: the columns do not belong together.

    """
    if "derived" not in rows:
        return rows
    shape = (len(rows["derived"]), *rows["obs_whole"].shape[1:])
    obs, next_obs = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    for i, pair in enumerate(iterate(rows)):
        obs[i], next_obs[i] = pair
    others = {name: column for name, column in rows.items() if name not in COLUMNS}
    return {"obs": obs, "next_obs": next_obs} | others


def iterate(rows: Arrays) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(obs, next_obs) of each row, packed or not, without unpacking all of them.

    Raises:
        StateError: the columns do not belong together.

    """
    if "derived" not in rows:
        yield from zip(rows["obs"], rows["next_obs"], strict=True)
        return
    derived, lag = rows["derived"], int(rows["lag"])
    follows, moved = (derived & OBS) != 0, (derived & NEXT_OBS) != 0
    whole = [rows[name] for name in COLUMNS[:3]]
    if lag < 1 or follows[:lag].any():
        raise StateError("the frames of a row are derived from a row that does not exist")
    if list(map(len, whole)) != [sum(~follows), sum(~moved), sum(moved)]:
        raise StateError("the numbers of frames and rows do not match")
    starts, wholes, frames = map(iter, whole)
    channels = whole[2].shape[1]
    recent: deque[np.ndarray] = deque(maxlen=lag)  # next_obs of the rows before
    for is_next, is_moved in zip(follows, moved, strict=True):
        obs = recent[0] if is_next else next(starts)
        next_obs = np.concatenate([obs[channels:], next(frames)]) if is_moved else next(wholes)
        recent.append(next_obs)
        yield obs, next_obs


def _frame_channels(obs: np.ndarray, next_obs: np.ndarray) -> int:
    """Channels of a frame: the shift that fits the most of a few rows; all channels if none fits."""
    channels = obs.shape[1]
    probes = np.unique(np.linspace(0, len(obs) - 1, min(PROBES, len(obs))).astype(int))

    def fits(frame: int) -> int:
        return sum(_is_moved_on(obs[i], next_obs[i], frame) for i in probes)

    divisors = [c for c in range(1, channels) if channels % c == 0]
    best = max(divisors, key=fits, default=channels)
    return best if fits(best) > 0 else channels


def _is_moved_on(obs: np.ndarray, next_obs: np.ndarray, frame: int) -> bool:
    """Whether next_obs is obs without its oldest `frame` channels, followed by as many new ones."""
    return _is_same(next_obs[:-frame], obs[frame:])


def _is_same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.tobytes() == right.tobytes()  # twice as fast as comparing with numpy
