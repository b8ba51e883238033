"""`rl_cli.read`: the files of a run as arrays."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rl_cli.core.errors import BadInput
from rl_cli.core.start_folder import absolute
from rl_cli.storage import run_folder
from rl_cli.storage.run_names import find_run
from rl_cli.tracking import csv_reader

if TYPE_CHECKING:
    import pandas

INTEGERS = ("step", "episode", "seed", "episode_length", "rollout/episodes")
"""Columns of whole numbers, if no value is missing."""


class Table(Mapping[str, np.ndarray]):
    """Columns by name, (rows,) each. An empty cell is NaN. `frame` is the same for pandas."""

    def __init__(self, columns: Mapping[str, np.ndarray]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self._columns.values()), ()))

    def where(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps at which a column has a value, and the values, for a plot."""
        there = ~np.isnan(self._columns[name].astype(np.float64))
        return self._columns["step"][there], self._columns[name][there]

    def frame(self) -> pandas.DataFrame:
        """A DataFrame. Raises ImportError where pandas is not installed."""
        import pandas

        return pandas.DataFrame(self._columns)

    def _repr_html_(self) -> str | None:
        try:
            return str(self.frame().to_html(max_rows=10, notebook=True))
        except ImportError:
            return None

    def __repr__(self) -> str:
        return f"Table of {self.rows} rows: {', '.join(self._columns)}"


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of a run.

    Attributes:
        folder: of the run.
        config: its configuration, nested.
        status: status.json: state, reason, step, eval_return, ...; empty: there is none yet.
        metrics: metrics.csv, one row for each log interval.
        evaluations: eval.csv, one row for each evaluation episode.
        videos: mp4 files, in the order of their names.

    """

    folder: Path
    config: Mapping[str, Any]
    status: Mapping[str, Any]
    metrics: Table
    evaluations: Table
    videos: tuple[Path, ...]

    def returns(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps (E,) of the evaluations, and the mean return (E,) of each."""
        steps, which = np.unique(self.evaluations["step"], return_inverse=True)
        sums = np.bincount(which, self.evaluations["episode_return"], len(steps))
        return steps, sums / np.bincount(which, minlength=len(steps))


def read(run: str | os.PathLike[str], /) -> Run:
    """Read the files of a run, which may still be running.

    Args:
        run: a run folder, the beginning of a run's name, or "latest".

    Raises:
        BadInput: there is no such run, or a file of it is broken.

    """
    folder = absolute(Path(find_run(os.fspath(run), f"run={run}")))
    return Run(
        folder,
        run_folder.read_config(folder),
        run_folder.read_status(folder),
        _table(folder / "metrics.csv"),
        _table(folder / "eval.csv"),
        tuple(sorted((folder / "videos").glob("[!.]*.mp4"))),
    )


def last_returns(run: Run) -> np.ndarray:
    """Returns of the episodes of the last evaluation, (E,)."""
    steps = run.evaluations["step"]
    found: np.ndarray = run.evaluations["episode_return"][steps == steps.max(initial=0)]
    return found


def _table(path: Path) -> Table:
    try:
        rows, names = list(csv_reader.rows(path)), csv_reader.columns(path)
        return Table({name: _column([row[name] for row in rows], name) for name in names})
    except (OSError, ValueError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"cannot be read: {why}", str(path), "name the folder of a run") from None


def _column(texts: list[str], name: str) -> np.ndarray:
    convert: Callable[[str], float] = int if name in INTEGERS and all(texts) else _number
    kind = np.int64 if convert is int else np.float64
    return np.array([convert(text) for text in texts], kind)


def _number(text: str) -> float:
    return float(text) if text else float("nan")
