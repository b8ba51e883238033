"""The logger: collects metrics between two rows and passes each row to the sinks."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rl_cli.core.errors import NonFinite
from rl_cli.core.fields import Fields, StateError, saved_numbers, shown
from rl_cli.core.types import Episode, Metrics
from rl_cli.tracking import episode_columns
from rl_cli.tracking.sinks import Sink
from rl_cli.tracking.statistics import (
    EpisodeTally,
    Summary,
    info_means,
    success_rate,
)

MAX_NAME = 200
"""Characters of the name of a metric in a loaded state; it becomes a column."""

MAX_METRIC = 1e290
"""Bound of the values in a loaded state; their sum is finite."""

PACKED_FROM = 10_000
"""Number of values of one metric between two rows at which they are joined into one tensor."""


class Logger:
    """Collects metrics without reading a tensor's value, and reduces them when a row is due.

    Args:
        sinks: receive each row, in this order.
        success_at: return from which on a training episode counts as a success; None: not counted.
        window: number of training episodes in the running mean of returns.

    """

    def __init__(
        self, sinks: Sequence[Sink], success_at: float | None = None, window: int = 100
    ) -> None:
        self.sinks = tuple(sinks)
        self.collected: dict[str, list[torch.Tensor | np.ndarray]] = {}
        self.episodes: list[Episode] = []  # since the last row
        self.row_step = self.evaluation_step = 0  # env steps of the last row and evaluation
        self.tally = EpisodeTally(success_at)  # over the whole run
        self.window: deque[float] = deque(maxlen=window)

    def add(self, metrics: Metrics) -> None:
        """Metrics of K updates, (K,) each. No value is read before the row is due."""
        for name, value in metrics.items():
            values = self.collected.setdefault(name, [])
            values.append(value)
            if len(values) >= PACKED_FROM:
                self.collected[name] = [_joined(values)]

    def add_episodes(self, episodes: Sequence[Episode]) -> None:
        """Finished training episodes."""
        self.episodes += episodes
        for episode in episodes:
            self.tally.add(episode)
            self.window.append(episode.episode_return)

    def row(self, times: Mapping[str, float]) -> dict[str, float]:
        """Means over everything since the last row, and `times`. Starts a new interval."""
        row: dict[str, float] = {"rollout/episodes": self.tally.count}
        if self.episodes:
            returns, count = [e.episode_return for e in self.episodes], len(self.episodes)
            row["rollout/episode_return"] = sum(returns) / count
            row["rollout/episode_return_max"] = max(returns)
            row["rollout/episode_length"] = sum(e.length for e in self.episodes) / count
            if (rate := success_rate(self.episodes, self.tally.success_at)) is not None:
                row["rollout/success_rate"] = rate
            means = info_means(self.episodes)
            row |= {f"rollout/info/{key}": value for key, value in means.items()}
        if self.window:
            row["rollout/running_return"] = sum(self.window) / len(self.window)
        for name, values in self.collected.items():
            row[f"train/{name}"] = _joined(values).mean().item()
        self.collected, self.episodes = {}, []
        return row | dict(times)

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Write the row of `step`.

        Raises:
            StorageError: a sink failed. The sinks after it do not receive the row.

        """
        self.row_step = step
        for sink in self.sinks:
            sink.write_row(step, row)

    def write_evaluation(
        self,
        step: int,
        episodes: Sequence[Episode],
        seed: int,
        summary: Summary,
        best: float | None = None,
    ) -> None:
        """Write the episodes of an evaluation and their summary. Raises as `write` does.

        `best`: the best mean return of an evaluation of the run so far.
        """
        self.evaluation_step = step
        row = {"eval/episode_return": summary.mean, "eval/episode_length": summary.mean_length}
        if best is not None:
            row["eval/best_return"] = best
        if summary.success_rate is not None:
            row["eval/success_rate"] = summary.success_rate
        row |= {f"eval/info/{key}": value for key, value in info_means(episodes).items()}
        for sink in self.sinks:
            sink.write_evaluation(step, episodes, seed, row)

    def flush(self) -> None:
        """Sync all rows to the disk. Called before each checkpoint, from which a run resumes."""
        for sink in self.sinks:
            sink.flush()

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()

    def state_dict(self) -> dict[str, Any]:
        """Metrics and episodes since the last row, counts over the run, and the steps of the last row."""
        return {
            "gathered": {name: _joined(values) for name, values in self.collected.items()},
            "episodes": episode_columns.saved(self.episodes),
            "tally": self.tally.state_dict(),
            "window": saved_numbers(self.window),
            "row_at": self.row_step,
            "evaluation_at": self.evaluation_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises StateError for metrics, episodes or steps that no run has."""
        fields = Fields(state)
        gathered = fields.part("gathered")
        for name in gathered.state:
            if not (isinstance(name, str) and name.isprintable() and len(name) <= MAX_NAME):
                raise StateError(f"{shown(name)} is no name of a metric")
            if np.size(gathered.get(name)) == 0:
                raise StateError(f"{gathered.name(name)} is empty")
        self.collected = {
            name: [
                torch.from_numpy(gathered.array(name, (None,), np.float64, -MAX_METRIC, MAX_METRIC))
            ]
            for name in gathered.state
        }
        self.episodes = episode_columns.loaded(fields.get("episodes"))
        if "tally" not in state:  # format 1 stored the number of episodes only
            self.tally.count_unknown(fields.integer("episodes_total"))
            return
        self.tally.load_state_dict(fields.get("tally"))
        self.window.extend(fields.numbers("window"))
        self.row_step = fields.integer("row_at", default=self.row_step)
        self.evaluation_step = fields.integer("evaluation_at", default=self.evaluation_step)
        for sink in self.sinks:  # rows of the checkpoint's step may have been written after it
            sink.cut_after(self.row_step, self.evaluation_step)


def _joined(values: Sequence[torch.Tensor | np.ndarray]) -> torch.Tensor:
    """Tensors () or (n,) as one float64 tensor (m,) on the CPU."""
    arrays = [v if isinstance(v, np.ndarray) else torch.as_tensor(v).cpu().numpy() for v in values]
    return torch.from_numpy(np.concatenate([a.reshape(-1) for a in arrays])).double()


def check_finite(row: Mapping[str, float]) -> None:
    """Raise NonFinite with the name of the first value that is NaN or infinite."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise NonFinite(
                f"{name} is {value}",
                name,
                "lower algo.learning_rate, or check the env's rewards and observations",
            )
