"""Preallocated arrays, one per field of a transition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import numpy as np

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


def _column(name: str, spec: EnvSpec) -> tuple[tuple[int, ...], type[np.generic] | str]:
    """Shape and type of one row of a field."""
    if name in ("obs", "next_obs"):
        return spec.obs_shape, spec.obs_dtype
    if name in ("action", "next_action"):
        return spec.action.shape, spec.action.dtype
    return (), np.float32


def row_bytes(spec: EnvSpec, row: Row = Transition) -> int:
    """Memory of one transition of one env."""
    columns = (_column(name, spec) for name in row._fields)
    return sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in columns)


class Columns:
    """One preallocated array per field of a row, `shape` rows each.

    Memory is touched only when rows are written, so an unused buffer costs nothing.
    """

    def __init__(self, shape: tuple[int, ...], spec: EnvSpec, row: Row = Transition) -> None:
        import torch  # here: `row_bytes` is used before torch is imported

        columns = [_column(name, spec) for name in row._fields]
        self.names = row._fields
        self.arrays = row(*(np.zeros((*shape, *each), kind) for each, kind in columns))
        self.tensors = BATCHES[row](*(torch.from_numpy(a) for a in self.arrays))
        self.singly = row(*(a[:, None] for a in self.arrays))  # [i] is a batch of row i

    def write_one(self, row: int, transition: Transition | Experience) -> None:
        """A transition of one env; half the time of `write` with a slice."""
        for array, value in zip(self.singly, transition, strict=True):
            array[row] = value

    def write(self, rows: int | slice | np.ndarray, transition: Transition | Experience) -> None:
        for array, value in zip(self.arrays, transition, strict=True):
            array[rows] = value

    def filled(self, rows: int) -> State:
        return {name: a[:rows] for name, a in zip(self.names, self.arrays, strict=True)}

    def piece(self, start: int, end: int) -> Arrays:
        return {n: a[start:end] for n, a in zip(self.names, self.arrays, strict=True)}

    def reorder(self, order: np.ndarray) -> None:
        """Row i becomes what row order[i] was, for the first len(order) rows."""
        for array in self.arrays:
            array[: len(order)] = array[order]

    def refill(self, state: Mapping[str, object], start: int = 0) -> int:
        """Put rows back, from row `start` on. -> the row after them."""
        for name, array in zip(self.names, self.arrays, strict=True):
            rows = cast(np.ndarray, state[name])
            array[start : start + len(rows)] = rows
        return start + len(rows)
