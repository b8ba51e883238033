"""Stacked frames in a table of transitions, each kept once on disk.

With k frames to an observation, `obs` and `next_obs` of consecutive rows hold each frame 2k times.
What can be derived is left out, row by row and only where the arrays themselves say that it can:

    obs      is the next_obs of the row `lag` before, as long as the episode goes on
    next_obs is obs moved on by a frame, and a new frame

A row where either does not hold (an episode begins, the buffer wraps) is kept in full, so that the
same bits come back whatever the rows are. Packed, the two columns become

    obs_whole       (F, C, H, W)  obs of the rows where it is not derived, in order
    next_obs_whole  (G, C, H, W)  the same of next_obs
    next_obs_frame  (R - G, c, H, W)  the last c channels of the others
    derived         (R,) uint8  OBS | NEXT_OBS
    lag             () int64  rows between two steps of one env
"""

from __future__ import annotations

import numpy as np

from rl_cli.core.types import Arrays

OBS, NEXT_OBS = 1, 2

PROBES = 16
"""Rows that are looked at to tell how many channels a frame has."""


def pack(rows: Arrays, lag: int) -> Arrays:
    """Columns of consecutive transitions, of which those of pixels are packed.

    Args:
        rows: column name -> (R, ...); left as it is unless `obs` is (R, C, H, W) bytes.
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
    packed = {name: rows[name] for name in rows if name not in ("obs", "next_obs")}
    return packed | {
        "obs_whole": obs[~follows],
        "next_obs_whole": next_obs[~moved],
        "next_obs_frame": next_obs[moved, -frame:],
        "derived": (follows * OBS | moved * NEXT_OBS).astype(np.uint8),
        "lag": np.array(lag),
    }


def unpack(rows: Arrays) -> Arrays:
    """The inverse of `pack`; rows that were saved as they are come back so.

    Raises:
        ValueError: the columns do not belong together.

    """
    if "derived" not in rows:
        return rows
    derived, lag = rows["derived"], int(rows["lag"])
    follows, moved = (derived & OBS) != 0, (derived & NEXT_OBS) != 0
    starts, wholes, frames = (rows[n] for n in ("obs_whole", "next_obs_whole", "next_obs_frame"))
    if lag < 1 or follows[:lag].any():
        raise ValueError("a row of frames follows none")
    if (len(starts), len(wholes), len(frames)) != (sum(~follows), sum(~moved), sum(moved)):
        raise ValueError("frames do not fit their rows")
    obs = np.empty((len(derived), *starts.shape[1:]), np.uint8)
    next_obs = np.empty_like(obs)
    obs[~follows], next_obs[~moved], next_obs[moved, -frames.shape[1] :] = starts, wholes, frames
    rest = obs.shape[1] - frames.shape[1]
    for i in range(len(obs)):
        if follows[i]:
            obs[i] = next_obs[i - lag]
        if moved[i]:
            next_obs[i, :rest] = obs[i, -rest:] if rest else 0
    columns = ("obs_whole", "next_obs_whole", "next_obs_frame", "derived", "lag")
    return {"obs": obs, "next_obs": next_obs} | {n: a for n, a in rows.items() if n not in columns}


def _frame_channels(obs: np.ndarray, next_obs: np.ndarray) -> int:
    """Channels of a frame: the fewest by which most of a few rows move on. All, for want of less."""
    channels = obs.shape[1]
    probes = np.unique(np.linspace(0, len(obs) - 1, min(PROBES, len(obs))).astype(int))

    def fits(frame: int) -> int:
        return sum(_is_moved_on(obs[i], next_obs[i], frame) for i in probes)

    divisors = [c for c in range(1, channels) if channels % c == 0]
    best = max(divisors, key=fits, default=channels)
    return best if fits(best) > 0 else channels


def _is_moved_on(obs: np.ndarray, next_obs: np.ndarray, frame: int) -> bool:
    """Do (C, H, W) differ in nothing but that the oldest `frame` channels went, and new ones came."""
    return _is_same(next_obs[:-frame], obs[frame:])


def _is_same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.tobytes() == right.tobytes()  # half the time of numpy's comparison
