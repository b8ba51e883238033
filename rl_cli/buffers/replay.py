"""Uniform experience replay."""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np
import torch

from rl_cli.buffers.columns import Columns, Row
from rl_cli.buffers.frame_columns import FrameColumns
from rl_cli.buffers.memory_check import bytes_of_row
from rl_cli.buffers.normalized_table import NormalizedTable, Statistics
from rl_cli.core import memory
from rl_cli.core.fields import Fields, StateError
from rl_cli.core.state import Blocks
from rl_cli.core.types import (
    EnvSpec,
    Experience,
    Rows,
    State,
    Transition,
)

BLOCK_BYTES, MAX_BLOCKS = 1 << 20, 64
"""A replay buffer is saved in blocks of at least this size, and at most this many."""

MAX_ROWS = 10**12
"""Upper bound of the rows that are ever added."""


class Gatherer(Protocol):
    """Combines transitions to experiences.

    `depth` is the number of steps from an experience's obs to the step that completes it, at most.
    """

    depth: int

    def add(self, transition: Transition) -> Experience | None:
        """Add a step of the first envs. -> the experiences that it completes, if any."""
        ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class ReplayBuffer:
    """The last `capacity` transitions, sampled uniformly with replacement (Lin 1992).

    Args:
        capacity: rows; a row is a transition of one env.
        spec: of the envs.
        device: of the batches.
        gatherer: combines transitions to n-step experiences, which are stored instead; None: none.
        extra_bytes: of a row, used by a subclass.

    Raises:
        BadInput: the buffer does not fit into memory.

    """

    def __init__(
        self,
        capacity: int,
        spec: EnvSpec,
        device: torch.device,
        gatherer: Gatherer | None = None,
        extra_bytes: int = 0,
    ) -> None:
        row, self.gatherer = Transition if gatherer is None else Experience, gatherer
        size = bytes_of_row(spec, row)
        memory.require("algo.buffer_size", capacity, size + extra_bytes)
        self.capacity, self.num_envs, self.device = capacity, spec.num_envs, device
        self.columns = _make_columns(capacity, spec, row, 1 if gatherer is None else gatherer.depth)
        self.normalized: NormalizedTable | None = None
        self.position, self.size = 0, 0
        self.added = 0  # rows ever added
        self.reorderings = 0  # times that the rows were reordered
        self.draws: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, Rows]] = {}
        self.block_rows = -(-max(BLOCK_BYTES, capacity * size // MAX_BLOCKS) // size)

    def normalize_samples(self, statistics: Statistics) -> None:
        """From now on rows are raw observations, which are normalized when they are sampled."""
        assert isinstance(self.columns, Columns)  # pixels have no statistics
        self.normalized = NormalizedTable(self.columns, statistics)

    @property
    def holds_raw(self) -> bool:
        """Whether rows are raw observations, to be normalized when they are sampled."""
        return self.normalized is not None

    def table(self) -> tuple[torch.Tensor, ...]:
        """All rows (capacity, ...), from which `Rows` gathers; normalized ones with the current statistics."""
        return self.columns.tensors if self.normalized is None else self.normalized.refreshed()

    def add(self, transition: Transition) -> None:
        """Append a step of the first envs, a row per env, or the experiences that it completes."""
        rows = transition if self.gatherer is None else self.gatherer.add(transition)
        if rows is not None:
            self.append(rows)

    def append(self, transition: Transition | Experience) -> None:
        """Append rows; the oldest ones are overwritten."""
        rows = len(transition.reward)
        end = self.position + rows
        if rows == 1:
            self.columns.write_one(self.position, transition)
        elif end <= self.capacity:
            self.columns.write(slice(self.position, end), transition)
        else:
            self.columns.write(np.arange(self.position, end) % self.capacity, transition)
        self.landed(rows)

    def landed(self, rows: int) -> None:
        """Update the position after `rows` rows were written from `position` on."""
        self.position = (self.position + rows) % self.capacity
        self.size, self.added = min(self.size + rows, self.capacity), self.added + rows

    def sample(self, batch_size: int, rng: np.random.Generator, batches: int = 1) -> Rows:
        """Draw (batches, batch_size) rows uniformly with `rng`.

        The next call with the same sizes writes its positions into the same arrays.
        """
        shape, table = (batches, batch_size), self.table()
        if shape not in self.draws or self.draws[shape][2].table is not table:
            positions = np.empty(shape, np.int64)
            self.draws[shape] = np.empty(shape), positions, Rows(table, torch.from_numpy(positions))
        points, positions, rows = self.draws[shape]
        rng.random(out=points)
        np.multiply(points, self.size, out=positions, casting="unsafe")  # 3x faster than `integers`
        return rows

    def state_dict(self) -> State:
        gathered = {} if self.gatherer is None else {"gathered": self.gatherer.state_dict()}
        return {
            **gathered,
            **({"raw": True} if self.holds_raw else {}),
            "position": self.position,
            "size": self.size,
            "added": self.added,
            "reorderings": self.reorderings,
            "rows": self._blocks(),
        }

    def _blocks(self) -> Blocks:
        """The rows in pieces; a piece's version is the number of rows added when it last changed."""
        lap = self.added - self.position  # rows added before row 0 was last written
        blocks = Blocks([], [], functools.partial(self.columns.pack, lag=self.num_envs))
        for start in range(0, self.size, self.block_rows):
            end = min(start + self.block_rows, self.size)
            base = lap if start < self.position else lap - self.capacity
            blocks.pieces.append(self.columns.piece(start, end))
            version = min(base + end, self.added)
            blocks.versions.append(version + self.reorderings * MAX_ROWS)
        return blocks

    def load_state_dict(self, state: State) -> None:
        """Restore the rows. Pieces are removed from `state` one by one, or memory would double.

        Raises:
            StateError: a number or a row is not possible in this buffer.

        """
        fields = Fields(state)
        if self.gatherer is not None:
            self.gatherer.load_state_dict(fields.mapping("gathered"))
        position = fields.integer("position", 0, self.capacity - 1)
        size = fields.integer("size", 0, self.capacity)
        added = fields.integer("added", size, MAX_ROWS, default=size + position)
        self.reorderings = fields.integer("reorderings", 0, 2**31, default=0)
        if position != size if size < self.capacity else added - position < size:
            raise StateError(f"position {position} does not fit {size} of {added} rows")
        self._refill(fields.get("rows"), size)
        self.position, self.size, self.added = position, size, added

    def _refill(self, rows: object, size: int) -> None:
        """Restore `size` rows, from one mapping (formats 1 and 2) or a list of pieces."""
        if isinstance(rows, dict):
            rows = [rows]
        read = list(rows.pieces) if isinstance(rows, Blocks) else rows
        if not isinstance(read, list):
            raise StateError("rows is not a list of pieces")
        end = 0
        while read:
            end = self.columns.refill(read.pop(0), end, size)
        if end != size:
            raise StateError(f"there are {end} rows, not {size}")


def _make_columns(capacity: int, spec: EnvSpec, row: Row, lookahead: int) -> Columns | FrameColumns:
    """Columns that store each frame once if observations are stacked frames."""
    if spec.frame_channels:
        return FrameColumns(capacity, spec, row, lookahead)
    return Columns((capacity,), spec, row)
