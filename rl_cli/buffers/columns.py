"""Preallocated storage of transitions, one array per field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from rl_cli.buffers import frame_stack
from rl_cli.core.fields import Fields, StateError, integer
from rl_cli.core.obs_layout import layout_of
from rl_cli.core.types import (
    Arrays,
    Batch,
    EnvSpec,
    Experience,
    ExperienceBatch,
    State,
    Transition,
)

Row = type[Transition] | type[Experience]

BATCHES: dict[Row, type[Batch] | type[ExperienceBatch]] = {
    Transition: Batch,
    Experience: ExperienceBatch,
}

MAX_REWARD = 1e35
"""Bound of loaded rewards: their n-step sums fit float32."""


def field_spec(name: str, spec: EnvSpec) -> tuple[tuple[int, ...], type[np.generic] | str]:
    """Shape and dtype of one row of a field."""
    if name in ("obs", "next_obs"):
        return spec.obs_shape, spec.obs_dtype
    if name in ("action", "next_action"):
        return spec.action.shape, spec.action.dtype
    return (), np.float32


def field_bytes(name: str, spec: EnvSpec) -> int:
    """Bytes of one row of a field."""
    shape, dtype = field_spec(name, spec)
    return math.prod(shape) * np.dtype(dtype).itemsize


def row_bytes(spec: EnvSpec, row: Row = Transition) -> int:
    """Bytes of one transition of one env."""
    return sum(field_bytes(name, spec) for name in row._fields)


def rows_in(rows: Fields, most: int) -> int:
    """Number of loaded rows, which is in [0, most]. Raises StateError."""
    reward = rows.get("reward")
    count = len(reward) if isinstance(reward, np.ndarray) and reward.ndim else -1
    return integer(count, rows.name("number of rows"), 0, most)


def loaded_column(
    rows: Fields, name: str, lead: tuple[int, ...], spec: EnvSpec, flags: object = np.float32
) -> np.ndarray:
    """A loaded column (*lead, ...), with values that its field can have.

    Actions are indices: the compiled step gathers with them without a check. `flags`: dtype of
    `terminated` and `truncated`.

    Raises:
        StateError: names the column and its fault.

    """
    shape, dtype = field_spec(name, spec)
    low: float | None = None
    high: float | None = None
    if name in ("terminated", "truncated"):
        dtype = cast(Any, flags)
    if name == "reward":
        low, high = -MAX_REWARD, MAX_REWARD
    if name in ("terminated", "truncated", "discount"):
        low, high = 0.0, 1.0
    elif name in ("action", "next_action") and spec.action.sizes:
        low, high = (-1.0 if name == "next_action" else 0.0), max(spec.action.sizes) - 1.0
    found = rows.array(name, (*lead, *shape), dtype, low, high)
    if name == "action" and not spec.action.contains(found):
        raise StateError(f"{rows.name(name)} has an action that does not exist")
    layout = layout_of(spec) if name in ("obs", "next_obs") else None
    if layout is not None:
        floats = layout.as_floats(np.ascontiguousarray(found))
        if not np.isfinite(floats).all():
            raise StateError(f"{rows.name(name)} has a value that is not finite")
    return found


class Columns:
    """One array per field of a row, `shape` rows each.

    The arrays are zero pages until rows are written: an unused buffer takes no physical memory.
    """

    def __init__(self, shape: tuple[int, ...], spec: EnvSpec, row: Row = Transition) -> None:
        import torch  # here: the sizes of rows are checked before torch is imported

        fields = [field_spec(name, spec) for name in row._fields]
        self.names, self.spec = row._fields, spec
        self.arrays = row(*(np.zeros((*shape, *each), dtype) for each, dtype in fields))
        self.tensors = BATCHES[row](*(torch.from_numpy(a) for a in self.arrays))
        self.single_rows = row(*(a[:, None] for a in self.arrays))  # [i] is a batch of row i

    def write_one(self, row: int, transition: Transition | Experience) -> None:
        """Write a transition of one env; takes half the time of `write` with a slice."""
        for array, value in zip(self.single_rows, transition, strict=True):
            array[row] = value

    def write(self, rows: int | slice | np.ndarray, transition: Transition | Experience) -> None:
        """Write rows, given by index, slice or (n,) indices."""
        for array, value in zip(self.arrays, transition, strict=True):
            array[rows] = value

    def filled(self, rows: int) -> State:
        """Views of the first rows by field name."""
        return {name: a[:rows] for name, a in zip(self.names, self.arrays, strict=True)}

    def piece(self, start: int, end: int) -> Arrays:
        """Views of rows [start, end) by field name."""
        return {n: a[start:end] for n, a in zip(self.names, self.arrays, strict=True)}

    def pack(self, piece: Arrays, lag: int) -> Arrays:
        """A piece as it is stored in a checkpoint; see `frame_stack.pack`."""
        return frame_stack.pack(piece, lag)

    def reorder(self, order: np.ndarray) -> None:
        """Move row order[i] to row i, for the first len(order) rows."""
        for array in self.arrays:
            array[: len(order)] = array[order]

    def refill(self, state: Mapping[str, object], start: int, end: int) -> int:
        """Restore rows of a checkpoint from row `start` on, up to row `end` at most.

        Returns:
            The row after them.

        Raises:
            StateError: they are not rows of these envs, or too many.

        """
        rows = Fields(frame_stack.unpack(frame_stack.checked(state, self.spec)))
        count = rows_in(rows, end - start)
        lead = (count, *self.arrays.reward.shape[1:])
        read = {name: loaded_column(rows, name, lead, self.spec) for name in self.names}
        for name, array in zip(self.names, self.arrays, strict=True):
            array[start : start + count] = read[name]
        return start + count
