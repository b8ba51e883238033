"""How far a running job is, from the last lines of its metrics.csv and eval.csv."""

from __future__ import annotations

import contextlib
import csv
import math
import os
from pathlib import Path
from typing import NamedTuple

TAIL = 1 << 14
"""Bytes read of the end of a file."""


class Progress(NamedTuple):
    """`step`: env steps so far, 0 if none is known; `eval_return`: mean of the last evaluation, or None."""

    step: int
    eval_return: float | None


def read(folder: Path) -> Progress:
    """The progress of the run in a folder, which may not exist yet. Never raises."""
    rows = _last_rows(folder / "metrics.csv")
    step = max((int(value) for value in _column(rows[-1:], "step")), default=0)
    rows = _last_rows(folder / "eval.csv")
    at = max(_column(rows, "step"), default=math.nan)
    last = [row for row in rows if _column([row], "step") == [at]]
    returns = _column(last, "episode_return")
    return Progress(step, sum(returns) / len(returns) if returns else None)


def _column(rows: list[dict[str, str]], name: str) -> list[float]:
    """The finite values of a column."""
    values = []
    for row in rows:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if math.isfinite(value := float(row[name])):
                values.append(value)
    return values


def _last_rows(path: Path) -> list[dict[str, str]]:
    """The complete rows within the last bytes of a table."""
    try:
        with open(path, "rb") as file:
            head = file.readline(TAIL).decode(errors="replace")
            start = file.tell()
            size = file.seek(0, os.SEEK_END)
            file.seek(max(start, size - TAIL))
            inside = file.tell() > start
            lines = file.read(TAIL).decode(errors="replace").splitlines(keepends=True)
    except OSError:
        return []
    whole = [line for line in lines[1 if inside else 0 :] if line.endswith("\n")]
    try:
        names = next(csv.reader([head]))
        return [dict(zip(names, row, strict=False)) for row in csv.reader(whole)]
    except (csv.Error, StopIteration):
        return []
