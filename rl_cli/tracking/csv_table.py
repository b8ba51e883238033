"""metrics.csv and eval.csv: the tables of a run, and the sink that writes them."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_cli.core.errors import BadInput, StorageError
from rl_cli.core.types import Episode
from rl_cli.storage.atomic_files import append, storing, sync_files, write_atomic
from rl_cli.tracking import csv_reader
from rl_cli.tracking.sinks import SinkContext

METRICS = ("step", "rollout/episode_return", "rollout/episode_length", "rollout/episodes")
"""First columns of metrics.csv; each new tag becomes a further column."""
CHUNK = 1 << 20
"""Characters written at a time when a table is rewritten."""

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
            dict(zip(EVALUATIONS, (step, i, seed + i, *episode[:2]), strict=True))
            | _reported(episode)
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


def _reported(episode: Episode) -> dict[str, float]:
    """Further columns of an evaluation episode: what the env said of it."""
    values = {} if episode.success is None else {"success": int(episode.success)}
    return values | {f"info/{key}": value for key, value in episode.info.items()}


class CsvTable:
    """A CSV file to which rows of named values are appended; a new name becomes a new column.

    A row that cannot be written stays in `unwritten` and is written together with the next one.
    An existing file may have been saved by another program: see `csv_reader`.

    Raises:
        BadInput: the file exists and is no table with a column `step`.

    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, list(columns)
        self.unwritten: list[Mapping[str, Any]] = []
        if path.exists() and path.stat().st_size:
            with _readable(path):
                self.columns = csv_reader.columns(path)
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
            try:
                self._rewrite(columns, itertools.chain(csv_reader.rows(self.path), rows))
            except ValueError as error:  # another program has changed it during the run
                raise StorageError(f"not a table of a run: {error}", str(self.path), FIX) from error
            self.columns = columns
        elif rows:
            text = "".join(_line([row.get(c, "") for c in self.columns]) for row in rows)
            with storing(self.path, len(text)):
                append(self.path, text.encode())
        self.unwritten = []

    def cut_after(self, step: int) -> None:
        """Remove the rows of later steps. Raises BadInput, as the constructor does."""
        with _readable(self.path):
            kept = (row for row in csv_reader.rows(self.path) if int(row["step"]) <= step)
            self._rewrite(self.columns, kept)

    def _rewrite(self, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the file anew, in pieces: it may be larger than the memory."""
        lines = (_line([row.get(c, "") for c in columns]) for row in rows)
        write_atomic(self.path, _chunks(itertools.chain([_line(columns)], lines)))


FIX = "restore the file, or move it out of the folder to start a new one"


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of `csv_reader` into BadInput."""
    with storing(path):
        try:
            yield
        except ValueError as error:
            raise BadInput(f"not a table of a run: {error}", str(path), FIX) from error


def _chunks(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines in pieces of about `CHUNK` characters; the first is there for an empty table too."""
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= CHUNK:
            yield "".join(held).encode()
            held, size = [], 0
    if held:
        yield "".join(held).encode()


def _line(values: list[Any]) -> str:
    class Collect(list[str]):
        write = list.append

    parts = Collect()
    csv.writer(parts, lineterminator="\n").writerow(values)
    return "".join(parts)
