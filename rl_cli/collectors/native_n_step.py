"""n-step experiences of the native collector for classic envs: `Lookahead` in C.

C writes each step to the window of the buffer's own `Lookahead` and the experiences that it completes to the
buffer. The results are equal to those of `Lookahead.add` to the bit.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import cast

import numpy as np

from rl_cli.buffers.columns import Columns
from rl_cli.buffers.n_step import Lookahead
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.core.types import Experience

SOURCE = Path(__file__).with_name("n_step.c")

Pointer, Int, Long = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


class RowsStruct(ctypes.Structure):
    """`Rows` of n_step.c."""

    _fields_ = tuple(
        (name, Pointer)
        for name in (
            *("action", "obs", "reward", "next_obs", "terminated", "truncated"),
            *("discount", "next_action"),
        )
    )


class WindowStruct(ctypes.Structure):
    """`Window` of n_step.c."""

    _fields_ = (
        *((name, Int) for name in ("n", "depth", "num_envs", "obs_size", "with_next_action")),
        ("gamma", ctypes.c_double),
        ("taken", Pointer),
        ("steps", RowsStruct),
        ("experiences", RowsStruct),
        *((name, Long) for name in ("capacity", "row", "completed")),
    )


def supports(buffer: ReplayBuffer) -> bool:
    """Whether C can write to `buffer`: transitions as they are, or experiences of discrete actions."""
    if buffer.gatherer is None:
        return True
    return type(buffer.gatherer) is Lookahead and buffer.columns.arrays.action.dtype == np.int64


class NativeWindow:
    """The window of a replay buffer, for C.

    Args:
        buffer: one that `supports` accepts, with a `Lookahead`.

    """

    def __init__(self, buffer: ReplayBuffer) -> None:
        self.buffer, lookahead = buffer, cast(Lookahead, buffer.gatherer)
        self.steps = lookahead.steps.arrays
        columns = cast(Columns, buffer.columns).arrays
        assert isinstance(columns, Experience)
        self.struct = WindowStruct(
            n=lookahead.n,
            depth=lookahead.depth,
            num_envs=len(lookahead.taken),
            obs_size=columns.obs.shape[1],
            with_next_action=lookahead.with_next_action,
            gamma=lookahead.gamma,
            taken=lookahead.taken.ctypes.data,
            steps=_rows(self.steps),
            experiences=_rows(columns),
            capacity=buffer.capacity,
        )
        self.address = ctypes.addressof(self.struct)

    def begin(self) -> None:
        """Write to the buffer's position from now on."""
        self.struct.row, self.struct.completed = self.buffer.position, 0

    @property
    def completed(self) -> int:
        """Experiences written since `begin`."""
        return int(self.struct.completed)


def _rows(arrays: tuple[np.ndarray, ...]) -> RowsStruct:
    fields = zip(type(arrays)._fields, arrays, strict=True)  # type: ignore[attr-defined]
    return RowsStruct(**{name: array.ctypes.data for name, array in fields})
