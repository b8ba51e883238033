"""Storage of transitions of stacked pixel frames that keeps each frame once.

With k frames to an observation, `obs` and `next_obs` of consecutive transitions hold each frame 2k
times. Here frames are in a pool, and a row holds the k frame indices of `obs` and of `next_obs`.

A frame is shared only after a comparison of its bytes with recent frames of the same env, so every
row is exact, whatever the wrappers, episode ends, n-step returns or the order of rows are. A frame
that does not match, such as the first one of an episode, is an extra frame of the pool. Frames are
reference-counted, and reused when no row refers to them.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from rl_cli.buffers import frame_stack
from rl_cli.buffers.columns import Row, field_bytes, field_spec, loaded_column, rows_in
from rl_cli.buffers.memory_check import EXTRA, STACKED
from rl_cli.core.fields import Fields
from rl_cli.core.types import (
    Arrays,
    Batch,
    EnvSpec,
    Experience,
    ExperienceBatch,
    State,
    Transition,
)

GROWTH = 1024
"""Frames by which the pool grows at least."""


class FrameTransitions(NamedTuple):
    """Table of `Transition` rows with pooled frames; see `Rows`."""

    frames: torch.Tensor  # (F, c, H, W) uint8
    grown: torch.Tensor  # (G, c, H, W) uint8, frames F to F + G - 1
    obs: torch.Tensor  # (capacity, k) int32, indices of frames, oldest first
    action: torch.Tensor  # (capacity, *action_shape)
    reward: torch.Tensor  # (capacity,)
    next_obs: torch.Tensor  # (capacity, k) int32
    terminated: torch.Tensor  # (capacity,)
    truncated: torch.Tensor  # (capacity,)

    def gather(self, positions: torch.Tensor, device: torch.device) -> Batch:
        """Rows at positions (B,) as a batch."""
        return Batch(**_gather(self, positions, device))


class FrameExperiences(NamedTuple):
    """Table of `Experience` rows with pooled frames; see `Rows`."""

    frames: torch.Tensor  # as in FrameTransitions
    grown: torch.Tensor
    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    discount: torch.Tensor  # (capacity,)
    next_action: torch.Tensor  # (capacity,)

    def gather(self, positions: torch.Tensor, device: torch.device) -> ExperienceBatch:
        """Rows at positions (B,) as a batch."""
        return ExperienceBatch(**_gather(self, positions, device))


def _gather(
    table: FrameTransitions | FrameExperiences, positions: torch.Tensor, device: torch.device
) -> dict[str, torch.Tensor]:
    positions, rows = positions.to(table.frames.device), {}
    for name, column in zip(table._fields[2:], table[2:], strict=True):
        found = column.index_select(0, positions)
        if name in STACKED:
            found = _stacks(table.frames, table.grown, found)
        rows[name] = found.to(device)
    return rows


def _stacks(frames: torch.Tensor, grown: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Observations (B, k * c, H, W) of frame indices (B, k)."""
    flat, count = indices.flatten(), len(frames)
    if len(grown) == 0:
        found = frames.index_select(0, flat)
    else:
        found = frames.index_select(0, flat.clamp(max=count - 1))
        later = (flat >= count).nonzero().flatten()
        found[later] = grown.index_select(0, flat[later] - count)
    channels = indices.shape[1] * frames.shape[1]
    return found.view(len(indices), channels, *frames.shape[2:])


class FrameColumns:
    """The interface of `Columns` for uint8 observations (k * c, H, W) of k frames.

    Args:
        capacity: rows.
        spec: of the envs; `frame_channels` is c.
        row: Transition or Experience.
        lookahead: steps from the `obs` of a row to its `next_obs`, at most.

    """

    def __init__(
        self, capacity: int, spec: EnvSpec, row: Row = Transition, lookahead: int = 1
    ) -> None:
        self.spec, self.row_type = spec, row
        self.depth = spec.obs_shape[0] // spec.frame_channels  # k
        self.frame_shape = (spec.frame_channels, *spec.obs_shape[1:])
        # a row stores up to 2 new frames, and the rows of the next `lookahead` steps share them
        size = 2 * (self.depth + lookahead)
        self.lanes = [_Lane(size) for _ in range(spec.num_envs)]
        extra = capacity // EXTRA + spec.num_envs * (size + 2 * self.depth)
        self.frames = np.zeros((1 + capacity + extra, *self.frame_shape), np.uint8)
        self.grown = np.zeros((0, *self.frame_shape), np.uint8)
        self.references = array("i", bytes(4 * len(self.frames)))
        self.used, self.free = 1, list[int]()  # index 0 marks rows that were never written
        self.others = [name for name in row._fields if name not in STACKED]
        columns = {name: np.zeros((capacity, self.depth), np.int32) for name in STACKED}
        for name in self.others:
            shape, dtype = field_spec(name, spec)
            columns[name] = np.zeros((capacity, *shape), dtype)
        self.arrays = row(**columns)
        self.tensors = self._table()

    def _table(self) -> FrameTransitions | FrameExperiences:
        kind = FrameTransitions if self.row_type is Transition else FrameExperiences
        return kind(*map(torch.from_numpy, (self.frames, self.grown, *self.arrays)))

    def write_one(self, row: int, transition: Transition | Experience) -> None:
        """Write a transition of one env."""
        self._write_stacks(row, self.lanes[0], transition.obs[0], transition.next_obs[0])
        for name in self.others:
            getattr(self.arrays, name)[row] = getattr(transition, name)[0]

    def write(self, rows: slice | np.ndarray, transition: Transition | Experience) -> None:
        """Write a row of each of the first M envs, in their order. `rows`: M indices.

        Where an index occurs twice, the last row counts.
        """
        indices = range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()
        pairs = zip(transition.obs, transition.next_obs, strict=True)
        for index, lane, pair in zip(indices, self.lanes, pairs, strict=False):
            self._write_stacks(index, lane, *pair)
        for name in self.others:
            getattr(self.arrays, name)[rows] = getattr(transition, name)

    def _write_stacks(self, row: int, lane: _Lane, obs: np.ndarray, next_obs: np.ndarray) -> None:
        before = self.arrays.obs[row].tolist() + self.arrays.next_obs[row].tolist()
        for column, value in ((self.arrays.obs, obs), (self.arrays.next_obs, next_obs)):
            column[row] = indices = self._indices(lane, value)
            for index in indices:
                self.references[index] += 1
        if before[0]:
            for index in before:
                self._release(index)

    def _indices(self, lane: _Lane, obs: np.ndarray) -> list[int]:
        """Indices of the frames of an observation; frames that are new are stored.

        The lane refers to them until two other observations have come.
        """
        frames = obs.reshape(self.depth, *self.frame_shape)
        stack = [frame.tobytes() for frame in frames]
        for known, indices in lane.stacks:
            if stack == known:
                return indices
        found = self._shifted(lane, stack)
        for content, frame in zip(stack[len(found) :], frames[len(found) :], strict=True):
            found.append(self._index(lane, content, frame))
        lane.stacks.insert(0, (stack, found))
        if len(lane.stacks) > 2:
            for index in lane.stacks.pop()[1]:
                self._release(index)
        return found

    def _shifted(self, lane: _Lane, stack: list[bytes]) -> list[int]:
        """Indices of all frames but the newest, where they are the newest ones of a recent stack."""
        for known, indices in lane.stacks:
            if stack[:-1] == known[1:]:
                for index in indices[1:]:
                    self.references[index] += 1
                return indices[1:]
        return []

    def _index(self, lane: _Lane, content: bytes, frame: np.ndarray) -> int:
        """Index of one frame, with a reference for the caller."""
        index = lane.frames.get(content)
        if index is None:
            index = lane.frames[content] = self._store(frame)
            self.references[index] += 1
        self.references[index] += 1
        if len(lane.frames) > lane.size:
            self._release(lane.frames.pop(next(iter(lane.frames))))
        return index

    def _store(self, frame: np.ndarray) -> int:
        count = len(self.frames)
        if self.free:
            index = self.free.pop()
        else:
            index, self.used = self.used, self.used + 1
            if index >= count + len(self.grown):
                self._grow()
        if index < count:
            self.frames[index] = frame
        else:
            self.grown[index - count] = frame
        return index

    def _grow(self) -> None:
        more = max(GROWTH, len(self.grown) // 4)
        self.grown = np.concatenate([self.grown, np.zeros((more, *self.frame_shape), np.uint8)])
        self.references.extend([0] * more)
        self.tensors = self._table()

    def _release(self, index: int) -> None:
        self.references[index] -= 1
        if self.references[index] == 0:
            self.free.append(index)

    def filled(self, rows: int) -> State:
        """Copies of the first rows by field name, with full observations."""
        batch = self.tensors.gather(torch.arange(rows), torch.device("cpu"))
        return {name: tensor.numpy() for name, tensor in batch._asdict().items()}

    def piece(self, start: int, end: int) -> Arrays:
        """Views of rows [start, end) by field name, with frame indices as `obs` and `next_obs`.

        `bound` takes no memory; its nbytes make the size of the piece an upper bound of what `pack`
        returns.
        """
        rows = {n: a[start:end] for n, a in self.arrays._asdict().items()}
        size = 2 * field_bytes("obs", self.spec)
        return rows | {"bound": np.broadcast_to(np.uint8(0), (end - start, size))}

    def pack(self, piece: Arrays, lag: int) -> Arrays:
        """A piece as it is stored in a checkpoint, in the format of `frame_stack`."""
        obs, next_obs = piece["obs"], piece["next_obs"]
        moved = (next_obs[:, :-1] == obs[:, 1:]).all(1)
        follows = np.zeros(len(obs), bool)
        follows[lag:] = (obs[lag:] == next_obs[:-lag]).all(1)
        others = {name: piece[name] for name in self.others}
        return others | frame_stack.packed(
            self._observations(obs[~follows]),
            self._observations(next_obs[~moved]),
            self._observations(next_obs[moved, -1:]),
            follows,
            moved,
            lag,
        )

    def _observations(self, indices: np.ndarray) -> np.ndarray:
        """(R, d) frame indices -> (R, d * c, H, W)."""
        tensors = map(torch.from_numpy, (self.frames, self.grown, np.ascontiguousarray(indices)))
        return _stacks(*tensors).numpy()

    def reorder(self, order: np.ndarray) -> None:
        """Move row order[i] to row i, for the first len(order) rows; `order` is a permutation."""
        for column in self.arrays:
            column[: len(order)] = column[order]

    def refill(self, state: Mapping[str, object], start: int, end: int) -> int:
        """Restore rows of a checkpoint, as `Columns.refill` does."""
        rows = frame_stack.checked(state, self.spec)
        fields = Fields(rows)
        count = rows_in(fields, end - start)
        if "derived" in rows:
            fields.array("derived", (count,), np.uint8)
        else:
            for name in STACKED:
                loaded_column(fields, name, (count,), self.spec)
        for name in self.others:
            loaded_column(fields, name, (count,), self.spec)
        row = start
        for obs, next_obs in frame_stack.iterate(rows):
            self._write_stacks(row, self.lanes[row % len(self.lanes)], obs, next_obs)
            row += 1
        for name in self.others:
            getattr(self.arrays, name)[start:row] = rows[name]
        return row


class _Lane:
    """Recent frames of one env, at most `size`, and its last two observations."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.frames: dict[bytes, int] = {}  # content -> index, in the order of insertion
        self.stacks: list[tuple[list[bytes], list[int]]] = []  # (content, indices), newest first
