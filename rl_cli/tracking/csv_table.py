"""metrics.csv and eval.csv: the tables of a run, and the sink that writes them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_cli.core.types import Episode
from rl_cli.storage.atomic_files import append, storing, sync_files, write_atomic
from rl_cli.tracking.sinks import SinkContext

METRICS = ("step", "rollout/episode_return", "rollout/episode_length", "rollout/episodes")
"""First columns of metrics.csv; each new tag becomes a further column."""
EVALUATIONS = ("step", "episode", "seed", "episode_return", "episode_length")
"""Columns of eval.csv."""


class CsvSink:
    """metrics.csv with one row per log interval, eval.csv with one row per evaluation episode."""

    def __init__(self, context: SinkContext) -> None:
        self.metrics = CsvTable(context.folder / "metrics.csv", METRICS)
        self.evaluations = CsvTable(context.folder / "eval.csv", EVALUATIONS)
        if context.resumed_at is not None:
            self.cut_after(context.resumed_at, context.resumed_at)

    def write_row(self, step: int, row: Mapping[str, float]) -> None:
        self.metrics.append({"step": step, **row})

    def write_evaluation(
        self, step: int, episodes: Sequence[Episode], seed: int, row: Mapping[str, float]
    ) -> None:
        rows = (
            dict(zip(EVALUATIONS, (step, i, seed + i, *episode), strict=True))
            for i, episode in enumerate(episodes)
        )
        self.evaluations.append(*rows)

    def cut_after(self, row_step: int, evaluation_step: int) -> None:
        self.metrics.cut_after(row_step)
        self.evaluations.cut_after(evaluation_step)

    def flush(self) -> None:
        for table in (self.metrics, self.evaluations):
            table.write_out()
        with storing(self.metrics.path):
            sync_files([self.metrics.path, self.evaluations.path])

    def close(self) -> None:
        """No file is open between two calls."""


class CsvTable:
    """A CSV file to which rows of named values are appended; a new name becomes a new column.

    A row that cannot be written stays in `unwritten` and is written together with the next one.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, list(columns)
        self.unwritten: list[Mapping[str, Any]] = []
        if path.exists():
            self.columns = self._read()[0]
        else:
            self._rewrite(self.columns, [])

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Add rows; missing values are empty.

        Raises:
            StorageError: the file is unchanged; the rows are kept for the next call.

        """
        self.unwritten += rows
        self.write_out()

    def write_out(self) -> None:
        """Write the rows in `unwritten`. Raises as `append` does."""
        rows = self.unwritten
        if new := {name: None for row in rows for name in row if name not in self.columns}:
            columns = [*self.columns, *new]
            self._rewrite(columns, [*self._read()[1], *rows])
            self.columns = columns
        elif rows:
            text = "".join(_line([row.get(c, "") for c in self.columns]) for row in rows)
            with storing(self.path, len(text)):
                append(self.path, text.encode())
        self.unwritten = []

    def cut_after(self, step: int) -> None:
        """Remove the rows of later steps."""
        self._rewrite(self.columns, [r for r in self._read()[1] if int(r["step"]) <= step])

    def _read(self) -> tuple[list[str], list[Mapping[str, Any]]]:
        with storing(self.path), self.path.open(newline="") as file:
            complete = (
                line for line in file if line.endswith("\n")
            )  # a kill may leave an incomplete last line
            reader = csv.DictReader(complete)
            rows: list[Mapping[str, Any]] = list(reader)
            return list(reader.fieldnames or self.columns), rows

    def _rewrite(self, columns: list[str], rows: list[Mapping[str, Any]]) -> None:
        lines = [_line(columns)] + [_line([row.get(c, "") for c in columns]) for row in rows]
        write_atomic(self.path, "".join(lines).encode())


def _line(values: list[Any]) -> str:
    class Collect(list[str]):
        write = list.append

    parts = Collect()
    csv.writer(parts, lineterminator="\n").writerow(values)
    return "".join(parts)
