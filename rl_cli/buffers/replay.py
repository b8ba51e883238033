"""Where experience waits to be learned from. Preallocated, written row by row, read as tensors."""

from __future__ import annotations

import functools
from typing import Protocol, cast

import numpy as np
import torch

from rl_cli.buffers import frame_stack
from rl_cli.buffers.columns import Columns, row_bytes
from rl_cli.core import memory
from rl_cli.core.state import Blocks
from rl_cli.core.types import (
    Arrays,
    EnvSpec,
    Experience,
    Rows,
    State,
    Transition,
)

BLOCK_BYTES, MOST_BLOCKS = 1 << 20, 64
"""Of the pieces a replay buffer is saved in: small, but not too many."""

MOST_ROWS = 10**12
"""More than are ever added."""


class Gatherer(Protocol):
    """Makes experiences of transitions; None: none is complete yet."""

    def add(self, transition: Transition) -> Experience | None: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


class ReplayBuffer:
    """The last `capacity` transitions, sampled uniformly with replacement (Lin 1992).

    Args:
        gatherer: what is remembered are the experiences that it makes of the transitions.

    """

    bytes_beside = 0  # of each row, for what is kept about it

    def __init__(
        self,
        capacity: int,
        spec: EnvSpec,
        device: torch.device,
        gatherer: Gatherer | None = None,
    ) -> None:
        row = Transition if gatherer is None else Experience
        size, self.gatherer = row_bytes(spec, row), gatherer
        memory.require("algo.buffer_size", capacity, size + self.bytes_beside)
        self.capacity, self.num_envs, self.device = capacity, spec.num_envs, device
        self.columns = Columns((capacity,), spec, row)
        self.position, self.size = 0, 0
        self.added = 0  # rows ever added
        self.reorderings = 0  # times that rows changed places
        self.draws: dict[tuple[int, int], tuple[np.ndarray, np.ndarray, Rows]] = {}
        self.block_rows = -(-max(BLOCK_BYTES, capacity * size // MOST_BLOCKS) // size)

    def add(self, transition: Transition) -> None:
        """Append what there is to remember of a step, a row per env."""
        found = transition if self.gatherer is None else self.gatherer.add(transition)
        if found is not None:
            self.append(found)

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
        """Take note of rows that have been written, from the next free row on."""
        self.position = (self.position + rows) % self.capacity
        self.size, self.added = min(self.size + rows, self.capacity), self.added + rows

    def sample(self, batch_size: int, rng: np.random.Generator, batches: int = 1) -> Rows:
        """(batches, batch_size) rows, drawn from `rng`, a batch after the other.

        The next call with the same numbers draws into the same memory.
        """
        shape = (batches, batch_size)
        if shape not in self.draws:
            positions = np.empty(shape, np.int64)
            rows = Rows(self.columns.tensors, torch.from_numpy(positions))
            self.draws[shape] = np.empty(shape), positions, rows
        points, positions, rows = self.draws[shape]
        rng.random(out=points)
        np.multiply(points, self.size, out=positions, casting="unsafe")  # a third of `integers`
        return rows

    def state_dict(self) -> State:
        gathered = {} if self.gatherer is None else {"gathered": self.gatherer.state_dict()}
        return {
            **gathered,
            "position": self.position,
            "size": self.size,
            "added": self.added,
            "reorderings": self.reorderings,
            "rows": self._blocks(),
        }

    def _blocks(self) -> Blocks:
        """The rows in pieces; a piece's version is the count of rows added when it last changed."""
        lap = self.added - self.position  # rows that had been added when row 0 was last written
        blocks = Blocks([], [], functools.partial(frame_stack.pack, lag=self.num_envs))
        for start in range(0, self.size, self.block_rows):
            end = min(start + self.block_rows, self.size)
            begun = lap if start < self.position else lap - self.capacity
            blocks.pieces.append(self.columns.piece(start, end))
            version = min(begun + end, self.added)
            blocks.versions.append(version + self.reorderings * MOST_ROWS)
        return blocks

    def load_state_dict(self, state: State) -> None:
        """Take the rows over; pieces that were read are let go one by one, or memory doubles."""
        if self.gatherer is not None:
            self.gatherer.load_state_dict(cast(State, state["gathered"]))
        self.position, self.size = cast(int, state["position"]), cast(int, state["size"])
        self.added = cast(int, state.get("added", self.size + self.position))
        self.reorderings = cast(int, state.get("reorderings", 0))
        rows = state["rows"]
        if isinstance(rows, dict):  # of the time when they were saved in one piece
            self.columns.refill(cast(State, rows))
            return
        read = list(rows.pieces) if isinstance(rows, Blocks) else cast(list[Arrays], rows)
        end = 0
        while read:
            end = self.columns.refill(frame_stack.unpack(read.pop(0)), end)
