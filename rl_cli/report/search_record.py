"""search.json of a search's folder, checked as data: it may come from anybody."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import TypeAdapter

from rl_cli.config.schema import schema
from rl_cli.core.errors import BadInput
from rl_cli.storage.untrusted import read

NAME = "search.json"

MAX_BYTES = 1 << 26

MAX_VALUE = 1e100

MAX_TRIALS = 5_000
"""Trials of a page; of more, the first ones are left out."""


@schema
class Run:
    """A run of a trial."""

    seed: int
    state: str
    value: float | None
    seconds: float
    folder: str
    step: int


@schema
class Trial:
    """A trial: its keys, and its objectives if it is complete."""

    trial: int
    state: Literal["complete", "pruned", "failed", "running"]
    values: list[float]
    keys: dict[str, Any]
    reason: str
    front: bool
    runs: list[Run]


@schema
class Dimension:
    """The range of a key; `low` and `high` are null for categorical."""

    key: str
    kind: Literal["float", "log", "int", "log_int", "categorical", "logit"]
    low: float | None
    high: float | None
    choices: list[Any]

    def place(self, value: Any) -> float | None:
        """Where a value lies in the range, 0 to 1, on its own scale; None: it is not in it."""
        if self.kind == "categorical":
            return (
                _share(self.choices.index(value), 0, len(self.choices) - 1)
                if value in self.choices
                else None
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            return _share(*(self._scaled(float(v or 0.0)) for v in (value, self.low, self.high)))
        except (ValueError, ZeroDivisionError, OverflowError):
            return None

    def _scaled(self, value: float) -> float:
        if self.kind == "logit":
            return math.log(value / (1 - value))
        return math.log(value) if self.kind in ("log", "log_int") else value


def _share(value: float, low: float, high: float) -> float | None:
    share = (value - low) / (high - low) if high > low else 0.5
    return share if -0.001 <= share <= 1.001 else None


@schema
class Checked:
    """A candidate on fresh seeds; `iqm` and `gain`: value, low and high end of the interval."""

    trial: int
    values: list[float]
    failed: int
    iqm: list[float | None]
    gain: list[float | None] | None


@schema
class SearchRecord:
    """A search."""

    format: Literal[1]
    study: str
    algo: str
    env: str
    updated: str
    objective: Literal["final", "best", "auc", "steps"]
    second: Literal["seconds", "steps"] | None
    directions: list[Literal["maximize", "minimize"]]
    budget: int
    seeds: list[int]
    fresh_seeds: list[int]
    space: dict[str, Dimension]
    defaults: dict[str, Any]
    trials: list[Trial]
    best: int | None
    importances: dict[str, float]
    checked: list[Checked]
    winner: int | None
    preset: str

    @property
    def minimizes(self) -> bool:
        """Whether a smaller value of the first objective is better."""
        return self.directions[0] == "minimize"

    @property
    def complete(self) -> list[Trial]:
        """Trials with values."""
        return [
            t
            for t in self.trials
            if t.state == "complete" and len(t.values) == len(self.directions)
        ]

    def rank(self, trial: Trial) -> tuple[bool, float, int]:
        """Key that sorts trials: complete ones before others, the best first."""
        sign = 1.0 if self.minimizes else -1.0
        return not trial.values, sign * trial.values[0] if trial.values else 0.0, trial.trial


def _require_sizes(record: SearchRecord) -> None:
    """Raise ValueError for numbers that no plot can show."""
    if len(record.directions) != (1 if record.second is None else 2):
        raise ValueError("its objectives do not fit together")
    values = [value for trial in record.trials for value in trial.values]
    values += [
        value for each in record.checked for value in (*each.values, *each.iqm) if value is not None
    ]
    values += record.importances.values()
    runs = [run for trial in record.trials for run in trial.runs]
    values += [value for run in runs for value in (run.seed, run.step, run.seconds, run.value or 0)]
    values += [trial.trial for trial in record.trials] + [each.trial for each in record.checked]
    values += [record.budget, *record.seeds, *record.fresh_seeds]
    if any(abs(value) > MAX_VALUE for value in values):
        raise ValueError("a number in it is too large")
    if any("\0" in run.folder for run in runs):
        raise ValueError("a folder in it is no path")


def load(folder: Path) -> SearchRecord:
    """The search of a folder.

    Raises:
        BadInput: search.json is missing or is no record of a search.

    """
    path = folder / NAME
    try:
        record = TypeAdapter(SearchRecord).validate_json(read(path, MAX_BYTES))
        _require_sizes(record)
    except OSError as error:
        what = f"there is no search: {error.strerror}"
        raise BadInput(what, str(path), "name the folder of a search") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = f"not the record of a search: {first['msg']}"
        raise BadInput(what, f"{path}: {where}", "repeat the rl-search command") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not the record of a search: {error}", str(path), "restore it") from None
    return record
