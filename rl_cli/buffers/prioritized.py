"""Replay that draws surprising transitions more often."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch

from rl_cli.buffers.memory_check import priority_bytes
from rl_cli.buffers.replay import Gatherer, ReplayBuffer
from rl_cli.buffers.sum_tree import SumTree
from rl_cli.core.errors import NonFinite
from rl_cli.core.schedules import crossings
from rl_cli.core.types import EnvSpec, Experience, Rows, State, Transition

Kind = Literal["proportional", "softmax"]

LEAST = 1e-6
"""Added to every priority, so that nothing is forgotten for ever (epsilon of Schaul et al. 2016)."""


def make_replay(
    kind: Kind | Literal["uniform"],
    capacity: int,
    spec: EnvSpec,
    device: torch.device,
    gatherer: Gatherer | None,
    alpha: float,
    sort_every: int,
) -> ReplayBuffer:
    """Replay drawn from as `kind` says; the last two are of prioritised ones."""
    if kind == "uniform":
        return ReplayBuffer(capacity, spec, device, gatherer)
    return PrioritizedReplay(capacity, spec, device, gatherer, kind, alpha, sort_every)


class PrioritizedReplay(ReplayBuffer):
    """The last `capacity` transitions, row i drawn with P(i) = w_i / sum w.

    A row's priority p is the size of its TD error when it was last learned from; a new one has the
    largest so far, so that it is soon looked at.

    proportional: w = p^alpha, with importance weights (Schaul et al. 2016, arXiv:1511.05952,
    eq. 1 and section 3.4), drawn in strata as there. softmax: softmax over symlog(p), that is
    w = 1 + p, without weights; symlog as in Hafner et al. 2023 (arXiv:2301.04104), eq. 9.

    Args:
        alpha: of `proportional`; 0 is uniform.
        sort_every: rows added between two sortings, by which those of least priority come to be
            overwritten first; 0: never.

    """

    def __init__(
        self,
        capacity: int,
        spec: EnvSpec,
        device: torch.device,
        gatherer: Gatherer | None,
        kind: Kind,
        alpha: float,
        sort_every: int,
    ) -> None:
        self.bytes_beside = priority_bytes(spec, sort_every > 0)
        super().__init__(capacity, spec, device, gatherer)
        self.kind, self.alpha, self.sort_every = kind, alpha, sort_every
        self.tree = SumTree(capacity)
        self.priority = np.zeros(capacity, np.float32)  # p of each row
        self.top = 1.0  # the largest so far
        self.sorted_at = 0  # count of rows added
        self.fresh = 0  # rows added since the tree last heard of them

    def append(self, transition: Transition | Experience) -> None:
        super().append(transition)
        self.fresh += len(transition.reward)
        if crossings(self.sorted_at, self.added, self.sort_every):
            self._sort()

    def sample(self, batch_size: int, rng: np.random.Generator, batches: int = 1) -> Rows:
        """(batches, batch_size) rows, drawn from `rng`, one from each of as many equal strata."""
        self.welcome()
        points = np.arange(batch_size) + rng.random((batches, batch_size))
        found = self.tree.find(points.ravel() * (self.tree.total / batch_size))
        return Rows(self.columns.tensors, torch.from_numpy(found.reshape(batches, batch_size)))

    def importance(self, positions: np.ndarray, beta: float) -> np.ndarray:
        """(N P(i))^-beta, the largest of them scaled to 1. (B,) -> (B,) float32."""
        if self.kind == "softmax":
            return np.ones(len(positions), np.float32)
        weights = self.tree.get(positions)
        corrected: np.ndarray = (weights / weights.min()) ** -beta
        return corrected.astype(np.float32)

    def learned(self, positions: np.ndarray, priority: np.ndarray) -> None:
        """Rows have been learned from: their priorities now. (B,), (B,) float32.

        Raises:
            NonFinite: one of them is no number; the weights are spoilt, and the tree must not be.

        """
        if not np.isfinite(priority).all():
            raise NonFinite("a TD error is not finite", "train/loss", "lower algo.learning_rate")
        self.welcome()  # those that were added before have the top of before
        self.top = max(self.top, float(priority.max()))
        self._set(positions, priority)

    def welcome(self) -> None:
        """Give the rows added since the last time their priority: many cost what one does."""
        if self.fresh:
            count = min(self.fresh, self.capacity)
            rows = np.arange(self.position - count, self.position) % self.capacity
            self._set(rows, np.full(count, self.top, np.float32))
            self.fresh = 0

    def _set(self, positions: np.ndarray, priority: np.ndarray) -> None:
        self.priority[positions] = priority
        self.tree.set(positions, self._weights(priority))

    def _weights(self, priority: np.ndarray) -> np.ndarray:
        exact: np.ndarray = priority.astype(np.float64)
        return 1.0 + exact if self.kind == "softmax" else (exact + LEAST) ** self.alpha

    def _sort(self) -> None:
        """Rows in order of priority; the next ones overwrite the least."""
        self.welcome()
        order = self.priority[: self.size].argsort(kind="stable")
        self.columns.reorder(order)
        self.priority[: self.size] = self.priority[order]
        self.tree.fill(self._weights(self.priority[: self.size]))
        self.position = self.size % self.capacity
        self.sorted_at = self.added
        self.reorderings += 1

    def state_dict(self) -> State:
        self.welcome()
        return {
            **super().state_dict(),
            "priority": self.priority[: self.size],
            "top": self.top,
            "sorted_at": self.sorted_at,
        }

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.priority[: self.size] = cast(np.ndarray, state["priority"])
        self.tree.fill(self._weights(self.priority[: self.size]))
        self.fresh = 0
        self.top, self.sorted_at = cast(float, state["top"]), cast(int, state["sorted_at"])
