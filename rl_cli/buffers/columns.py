"""Preallocated storage of transitions, one array per field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import numpy as np

from rl_cli.buffers import frame_stack
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


class Columns:
    """One array per field of a row, `shape` rows each.

    The arrays are zero pages until rows are written: an unused buffer takes no physical memory.
    """

    def __init__(self, shape: tuple[int, ...], spec: EnvSpec, row: Row = Transition) -> None:
        import torch  # here: the sizes of rows are checked before torch is imported

        fields = [field_spec(name, spec) for name in row._fields]
        self.names = row._fields
        self.arrays = row(*(np.zeros((*shape, *each), dtype) for each, dtype in fields))
        self.tensors = BATCHES[row](*(torch.from_numpy(a) for a in self.arrays))
        self.single_rows = row(*(a[:, None] for a in self.arrays))  # [i] is a batch of row i

    def refresh(self) -> None:
        """Bring what `tensors` reads besides the rows up to date; here there is nothing."""

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

    def refill(self, state: Mapping[str, object], start: int = 0) -> int:
        """Restore rows of a checkpoint from row `start` on. -> the row after them."""
        rows = frame_stack.unpack(cast(Arrays, state))
        for name, array in zip(self.names, self.arrays, strict=True):
            array[start : start + len(rows[name])] = rows[name]
        return start + len(rows["reward"])
