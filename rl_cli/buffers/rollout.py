"""On-policy storage: a fixed number of steps, or whole episodes. Used for one update phase."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch

from rl_cli.buffers.columns import Columns, loaded_column, row_bytes, rows_in
from rl_cli.core import memory
from rl_cli.core.errors import EnvFault
from rl_cli.core.fields import COUNT, Fields, StateError, integer
from rl_cli.core.types import Batch, EnvSpec, State, Transition


def minibatches(
    rows: int, size: int, rng: np.random.Generator, epochs: int = 1
) -> list[torch.Tensor]:
    """Indices of shuffled minibatches: each epoch has all rows once.

    Args:
        rows: number of rows.
        size: maximum size of a minibatch; sizes differ by at most 1.
        rng: for the shuffles.
        epochs: passes over the rows.

    Returns:
        Minibatches in order; consecutive ones of the same size B as one tensor (K, B).

    """
    orders = [torch.from_numpy(rng.permutation(rows)) for _ in range(epochs)]
    if rows % (parts := -(-rows // size)) == 0:
        return [torch.stack(orders).view(epochs * parts, -1)]
    larger, split = rows % parts, rows % parts * (rows // parts + 1)
    pairs = [(order[:split], order[split:]) for order in orders]
    return [p for a, b in pairs for p in (a.view(larger, -1), b.view(parts - larger, -1))]


def filled_minibatches(rows: int, size: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """Shuffled minibatches of exactly `size` rows; the last is filled with rows of the first. -> (size,) int64 each."""
    return list(
        torch.from_numpy(np.resize(rng.permutation(rows), -(-rows // size) * size)).split(size)
    )


class RolloutBuffer:
    """`length` consecutive steps of all envs, time first: (T, N, ...)."""

    def __init__(self, length: int, spec: EnvSpec, device: torch.device) -> None:
        memory.require("algo.rollout_length", length, spec.num_envs * row_bytes(spec))
        self.length, self.num_envs, self.device = length, spec.num_envs, device
        self.columns = Columns((length, spec.num_envs), spec)
        self.position = 0

    @property
    def full(self) -> bool:
        return self.position == self.length

    def add(self, transition: Transition) -> None:
        """Append a step.

        The last step of a budget may have fewer envs. It would leave a gap if the run were
        continued, so it clears the buffer; no further update is due within the budget.
        """
        if len(transition.reward) < self.num_envs:
            return self.clear()
        self.columns.write(self.position, transition)
        return self.landed(self.num_envs)

    def landed(self, rows: int) -> None:
        """Update the position after `rows` rows were written from `position` on."""
        self.position += rows // self.num_envs

    @property
    def steps(self) -> int:
        """Env steps since the last `clear`."""
        return self.position * self.num_envs

    def batch(self) -> Batch:
        """All steps, (T, N, ...)."""
        return Batch(*(tensor.to(self.device) for tensor in self.columns.tensors))

    def clear(self) -> None:
        self.position = 0

    def state_dict(self) -> State:
        return {"position": self.position, "rows": self.columns.filled(self.position)}

    def load_state_dict(self, state: State) -> None:
        """Raises StateError for a number or a row that is not possible in this buffer."""
        fields = Fields(state)
        position = fields.integer("position", 0, self.length)
        if self.columns.refill(fields.mapping("rows"), 0, position) != position:
            raise StateError(f"the rollout does not have {position} rows")
        self.position = position


FLAGS = ("recording", "under_way")
"""Lists of flags in the state of `EpisodeBuffer`, one value per env."""


OVERHEAD = 900
"""Bytes of the Python objects of one recorded step."""


class EpisodeBuffer:
    """Whole episodes, `per_env` from each env, all started after the last `clear`.

    Taking the first episodes of each env, rather than the first that end, avoids a bias towards
    short episodes; an env with enough episodes continues without being recorded. An episode that
    was running at `clear` is dropped, because older weights chose its first actions.

    Raises:
        EnvFault: from `add`: the episodes do not fit into half of the memory, as in an env without end.

    """

    def __init__(self, per_env: int, spec: EnvSpec, device: torch.device) -> None:
        self.per_env, self.spec, self.device = per_env, spec, device
        self.recorded = 0  # steps in memory, over all envs
        self.most_recorded = memory.limit() // 2 // (row_bytes(spec) + OVERHEAD)
        self.open: list[list[Transition]] = [[] for _ in range(spec.num_envs)]
        self.complete: list[list[Transition]] = [[] for _ in range(spec.num_envs)]
        self.recording = [
            True
        ] * spec.num_envs  # whether the current episode of each env is recorded
        self.running = [False] * spec.num_envs  # whether an episode has started and not ended
        self.steps = 0  # env steps since the last `clear`, recorded or not

    @property
    def full(self) -> bool:
        return all(len(episodes) == self.per_env for episodes in self.complete)

    def add(self, transition: Transition) -> None:
        """Append a step to the current episode of each env."""
        self.steps += len(transition.reward)
        ends = transition.terminated | transition.truncated
        for i, ended in enumerate(ends.tolist()):
            if self.recording[i]:
                self.open[i].append(Transition(*(np.array(field[i]) for field in transition)))
                self.recorded += 1
                if self.recorded > self.most_recorded:
                    self._refuse(i)
                if ended:
                    self.complete[i].append(_stack(self.open[i]))
                    self.open[i] = []
            if ended:
                self.recording[i] = len(self.complete[i]) < self.per_env
            self.running[i] = not ended

    def _refuse(self, i: int) -> NoReturn:
        raise EnvFault(
            f"{self.recorded:,} steps are kept for the next update, which needs whole episodes: "
            "more do not fit into memory",
            f"env={i}, step {len(self.open[i]):,} of its episode",
            "set a time limit: env.max_episode_steps=1000",
        )

    def episodes(self) -> list[Batch]:
        """The complete episodes, each (T, ...)."""
        return [self._batch(episode) for episodes in self.complete for episode in episodes]

    def batch(self) -> Batch:
        """The complete episodes concatenated as if of one env, (T, 1, ...)."""
        columns = zip(*self.episodes(), strict=True)
        return Batch(*(torch.cat(column)[:, None] for column in columns))

    def _batch(self, episode: Transition) -> Batch:
        batch = Batch(*(torch.from_numpy(column).to(self.device) for column in episode))
        return batch._replace(
            terminated=batch.terminated.float(), truncated=batch.truncated.float()
        )

    def clear(self) -> None:
        """Drop the complete episodes and those that are running."""
        self.steps = self.recorded = 0
        for i, running in enumerate(self.running):
            self.open[i], self.complete[i], self.recording[i] = [], [], not running

    def state_dict(self) -> State:
        return {
            "open": [_stack(rows)._asdict() if rows else {} for rows in self.open],
            "complete": [[e._asdict() for e in episodes] for episodes in self.complete],
            "recording": list(self.recording),
            "under_way": list(self.running),
            "steps": self.steps,
        }

    def load_state_dict(self, state: State) -> None:
        """Raises StateError for episodes that are not possible in this buffer."""
        fields, n = Fields(state), self.spec.num_envs
        opened, complete = (fields.items(name, n) for name in ("open", "complete"))
        flags = [[Fields({"": v}).boolean("") for v in fields.items(k, n)] for k in FLAGS]
        self.steps = fields.integer("steps", default=0)  # older checkpoints do not have it
        self.open = [_unstack(self._loaded(rows)) if rows else [] for rows in opened]
        for i, episodes in enumerate(complete):
            most = self.per_env - flags[0][i]  # and one in progress, which needs a place
            if not isinstance(episodes, list) or len(episodes) > most:
                raise StateError(f"complete.{i} is not a list of at most {most} episodes")
        self.complete = [[self._loaded(rows) for rows in episodes] for episodes in complete]
        self.recording, self.running = flags
        kept = [len(e.reward) for episodes in self.complete for e in episodes]
        self.recorded = sum(kept) + sum(map(len, self.open))

    def _loaded(self, rows: object) -> Transition:
        """The steps of an episode, at least one, of a checkpoint."""
        fields = Fields(rows, "an episode")
        count = integer(rows_in(fields, COUNT), "steps of an episode", 1)
        names = Transition._fields
        return Transition(
            *(loaded_column(fields, k, (count,), self.spec, flags=bool) for k in names)
        )


def make_rollout(
    length: int | None, episodes: int | None, spec: EnvSpec, device: torch.device
) -> RolloutBuffer | EpisodeBuffer:
    """A buffer of `length` steps of each env, or of `episodes` episodes, equally many of each env."""
    if length is not None:
        return RolloutBuffer(length, spec, device)
    return EpisodeBuffer(-(-(episodes or 1) // spec.num_envs), spec, device)


def _stack(rows: list[Transition]) -> Transition:
    return Transition(*(np.stack(column) for column in zip(*rows, strict=True)))


def _unstack(columns: Transition) -> list[Transition]:
    return [Transition(*row) for row in zip(*columns, strict=True)]
