"""Prioritized experience replay."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from rl_cli.buffers.memory_check import priority_bytes
from rl_cli.buffers.replay import Gatherer, ReplayBuffer
from rl_cli.buffers.sum_tree import SumTree
from rl_cli.core.errors import NonFinite
from rl_cli.core.fields import Fields
from rl_cli.core.schedules import crossings
from rl_cli.core.types import EnvSpec, Experience, Rows, State, Transition

Kind = Literal["proportional", "softmax"]

MIN_PRIORITY = 1e-6
"""Added to every priority, so that each row can be drawn (epsilon of Schaul et al. 2016)."""


def make_replay(
    kind: Kind | Literal["uniform"],
    capacity: int,
    spec: EnvSpec,
    device: torch.device,
    gatherer: Gatherer | None,
    alpha: float,
    sort_every: int,
) -> ReplayBuffer:
    """The replay buffer of a kind; `alpha` and `sort_every` apply to `PrioritizedReplay` only."""
    if kind == "uniform":
        return ReplayBuffer(capacity, spec, device, gatherer)
    return PrioritizedReplay(capacity, spec, device, gatherer, kind, alpha, sort_every)


class PrioritizedReplay(ReplayBuffer):
    """The last `capacity` transitions; row i is drawn with P(i) = w_i / sum w.

    The priority p of a row is the absolute TD error of its last update. A new row has the largest
    priority so far.

    proportional: w = p^alpha, with importance weights and stratified sampling (Schaul et al. 2016,
    arXiv:1511.05952, eq. 1 and section 3.4). softmax: softmax over symlog(p), that is w = 1 + p,
    without importance weights; symlog as in Hafner et al. 2023 (arXiv:2301.04104), eq. 9.

    Args:
        alpha: exponent of `proportional`; 0 is uniform.
        sort_every: rows added between two sorts by priority, after which the rows of the lowest
            priority are overwritten first; 0: never.

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
        extra = priority_bytes(spec, sort_every > 0)
        super().__init__(capacity, spec, device, gatherer, extra)
        self.kind, self.alpha, self.sort_every = kind, alpha, sort_every
        self.tree = SumTree(capacity)
        self.priority = np.zeros(capacity, np.float32)  # p of each row
        self.max_priority = 1.0  # so far
        self.sorted_at = 0  # rows added at the last sort
        self.pending = 0  # rows added whose priority is not set yet

    def append(self, transition: Transition | Experience) -> None:
        super().append(transition)
        self.pending += len(transition.reward)
        if crossings(self.sorted_at, self.added, self.sort_every):
            self._sort()

    def sample(self, batch_size: int, rng: np.random.Generator, batches: int = 1) -> Rows:
        """Draw (batches, batch_size) rows with `rng`, one from each of batch_size equal strata."""
        self.set_pending()
        points = np.arange(batch_size) + rng.random((batches, batch_size))
        found = self.tree.find(points.ravel() * (self.tree.total / batch_size))
        return Rows(self.table(), torch.from_numpy(found.reshape(batches, batch_size)))

    def importance(self, positions: np.ndarray, beta: float) -> np.ndarray:
        """Importance weights (N P(i))^-beta, divided by the largest. (B,) -> (B,) float32."""
        if self.kind == "softmax":
            return np.ones(len(positions), np.float32)
        weights = self.tree.get(positions)
        corrected: np.ndarray = (weights / weights.min()) ** -beta
        return corrected.astype(np.float32)

    def update_priorities(self, positions: np.ndarray, priority: np.ndarray) -> None:
        """Set the priorities (B,) float32 of rows (B,) after an update.

        Raises:
            NonFinite: a priority is NaN or infinite; the tree is unchanged.

        """
        if not np.isfinite(priority).all():
            raise NonFinite("a TD error is not finite", "train/loss", "lower algo.learning_rate")
        self.set_pending()  # rows added before have the maximum of before
        self.max_priority = max(self.max_priority, float(priority.max()))
        self._set(positions, priority)

    def set_pending(self) -> None:
        """Set the priority of rows added since the last call, all at once: as fast as for one row."""
        if self.pending:
            count = min(self.pending, self.capacity)
            rows = np.arange(self.position - count, self.position) % self.capacity
            self._set(rows, np.full(count, self.max_priority, np.float32))
            self.pending = 0

    def _set(self, positions: np.ndarray, priority: np.ndarray) -> None:
        self.priority[positions] = priority
        self.tree.set(positions, self._weights(priority))

    def _weights(self, priority: np.ndarray) -> np.ndarray:
        exact: np.ndarray = priority.astype(np.float64)
        return 1.0 + exact if self.kind == "softmax" else (exact + MIN_PRIORITY) ** self.alpha

    def _sort(self) -> None:
        """Sort rows by priority; the next rows overwrite those of the lowest."""
        self.set_pending()
        order = self.priority[: self.size].argsort(kind="stable")
        self.columns.reorder(order)
        self.priority[: self.size] = self.priority[order]
        self.tree.fill(self._weights(self.priority[: self.size]))
        self.position = self.size % self.capacity
        self.sorted_at = self.added
        self.reorderings += 1

    def state_dict(self) -> State:
        self.set_pending()
        return {
            **super().state_dict(),
            "priority": self.priority[: self.size],
            "top": self.max_priority,
            "sorted_at": self.sorted_at,
        }

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        fields = Fields(state)
        self.priority[: self.size] = fields.array("priority", (self.size,), np.float32, low=0.0)
        self.tree.fill(self._weights(self.priority[: self.size]))
        self.pending = 0
        self.max_priority = fields.number("top", 1.0, float(np.finfo(np.float32).max))
        self.sorted_at = fields.integer("sorted_at", 0, self.added)
