"""Curves: metrics.csv is the truth, TensorBoard a view of it; one row per log interval."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_cli.core.errors import NonFinite, StorageError
from rl_cli.core.types import Episode, Metrics
from rl_cli.storage.atomic_files import storing, sync_files
from rl_cli.tracking.csv_table import CsvTable
from rl_cli.tracking.statistics import Summary, Tally
from rl_cli.tracking.tensorboard import FINAL_METRIC, _Events

PACKED_FROM = 10_000
"""Numbers of one metric between two rows, from which on they are kept as one tensor, not as many."""


class Logger:
    """Gathers what happens between two rows without waiting for a number, and writes a row.

    Args:
        folder: of the run.
        tensorboard: write event files beside the CSV.
        hparams: flat name -> value, for TensorBoard's HPARAMS tab.
        resumed_at: step a resumed run goes on from; later rows are cut and written again.
        success_at: return from which on a training episode counts as a success.
        window: training episodes of the running mean.

    """

    def __init__(
        self,
        folder: Path,
        tensorboard: bool,
        hparams: Mapping[str, Any],
        resumed_at: int | None = None,
        success_at: float | None = None,
        window: int = 100,
    ) -> None:
        self.metrics = CsvTable(
            folder / "metrics.csv",
            ("step", "rollout/episode_return", "rollout/episode_length", "rollout/episodes"),
        )
        self.evaluations = CsvTable(
            folder / "eval.csv", ("step", "episode", "seed", "episode_return", "episode_length")
        )
        if resumed_at is not None:
            self.metrics.cut_after(resumed_at)
            self.evaluations.cut_after(resumed_at)
        self.events: _Events | None = None
        self.begin_events: Callable[[], _Events] | None = None  # None: without TensorBoard
        if tensorboard:
            self.begin_events = lambda: _Events(folder / "tb", hparams, resumed_at)
        self.gathered: dict[str, list[torch.Tensor | np.ndarray]] = {}
        self.episodes: list[Episode] = []
        self.row_at = self.evaluation_at = resumed_at or 0  # steps of the last ones written
        self.tally = Tally(success_at)  # of all training episodes
        self.window: deque[float] = deque(maxlen=window)

    def add(self, metrics: Metrics) -> None:
        """Metrics of an update. Nothing is computed before the row is due."""
        for name, value in metrics.items():
            values = self.gathered.setdefault(name, [])
            values.append(value)
            if len(values) >= PACKED_FROM:
                self.gathered[name] = [_joined(values)]

    def add_episodes(self, episodes: list[Episode]) -> None:
        self.episodes += episodes
        for episode in episodes:
            self.tally.add(episode)
            self.window.append(episode.episode_return)

    def row(self, times: Mapping[str, float]) -> dict[str, float]:
        """Means over what came since the last row, and `times`."""
        row: dict[str, float] = {"rollout/episodes": self.tally.count}
        if self.episodes:
            returns, count = [e.episode_return for e in self.episodes], len(self.episodes)
            row["rollout/episode_return"] = sum(returns) / count
            row["rollout/episode_return_max"] = max(returns)
            row["rollout/episode_length"] = sum(e.length for e in self.episodes) / count
            if (goal := self.tally.success_at) is not None:
                row["rollout/success_rate"] = sum(r >= goal for r in returns) / count
        if self.window:
            row["rollout/running_return"] = sum(self.window) / len(self.window)
        for name, values in self.gathered.items():
            row[f"train/{name}"] = _joined(values).mean().item()
        self.gathered, self.episodes = {}, []
        return row | dict(times)

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Write the row of `step`.

        Raises:
            StorageError: it waits, and is written with the next one.

        """
        self.row_at = step
        self.metrics.append({"step": step, **row})
        self._scalars(row, step)

    def write_evaluation(
        self, step: int, episodes: list[Episode], seed: int, summary: Summary
    ) -> None:
        """One row per evaluation episode, and the mean as a curve. Raises as `write` does."""
        self.evaluation_at = step
        self.evaluations.append(
            *(
                {
                    "step": step,
                    "episode": i,
                    "seed": seed + i,
                    "episode_return": episode.episode_return,
                    "episode_length": episode.length,
                }
                for i, episode in enumerate(episodes)
            )
        )
        row = {FINAL_METRIC: summary.mean, "eval/episode_length": summary.mean_length}
        if summary.success_rate is not None:
            row["eval/success_rate"] = summary.success_rate
        self._scalars(row, step)

    def state_dict(self) -> dict[str, Any]:
        """What the next row would have been made of."""
        return {
            "gathered": {name: _joined(values) for name, values in self.gathered.items()},
            "episodes": [list(e) for e in self.episodes],
            "tally": self.tally.state_dict(),
            "window": list(self.window),
            "row_at": self.row_at,
            "evaluation_at": self.evaluation_at,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.gathered = {
            name: [torch.from_numpy(values)] for name, values in state["gathered"].items()
        }
        self.episodes = [Episode(*e) for e in state["episodes"]]
        if "tally" in state:
            self.tally.load_state_dict(state["tally"])
            self.window.extend(state["window"])
            self.row_at = state.get("row_at", self.row_at)
            self.evaluation_at = state.get("evaluation_at", self.evaluation_at)
            self.metrics.cut_after(self.row_at)  # this step's came after the checkpoint, if at all
            self.evaluations.cut_after(self.evaluation_at)
        else:  # of a version that counted and nothing more
            self.tally.count = self.tally.missed = state["episodes_total"]

    def flush(self) -> None:
        """Bring what has been written to the disk: a checkpoint goes on from here."""
        tables = (self.metrics, self.evaluations)
        for table in tables:
            table.write_out()
        with storing(self.metrics.path):
            sync_files([table.path for table in tables])
        self._view(lambda events: events.flush())

    def close(self) -> None:
        self._view(lambda events: events.close())

    def _scalars(self, row: Mapping[str, float], step: int) -> None:
        self._view(lambda events: events.scalars(row, step))

    def _view(self, write: Callable[[_Events], None]) -> None:
        """TensorBoard's files cannot be mended where the disk was full: they end there.

        They begin with what is written first: the package takes longer to import than all of ours,
        and training need not wait for it.
        """
        if self.begin_events is None:
            return
        try:
            if self.events is None:
                self.events = self.begin_events()
            write(self.events)
        except StorageError:
            self.begin_events = self.events = None
            raise


def _joined(values: Sequence[torch.Tensor | np.ndarray]) -> torch.Tensor:
    """Numbers () or several (n,) as one float64 tensor on the host."""
    arrays = [v if isinstance(v, np.ndarray) else torch.as_tensor(v).cpu().numpy() for v in values]
    return torch.from_numpy(np.concatenate([a.reshape(-1) for a in arrays])).double()


def check_finite(row: Mapping[str, float]) -> None:
    """Raise NonFinite naming the first value that is none."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise NonFinite(
                f"{name} is {value}",
                name,
                "lower algo.learning_rate, or look at the env's rewards and observations",
            )
