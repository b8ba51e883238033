"""Reads the tables of a run, which may come from anybody or have been saved by a spreadsheet program.

A byte-order mark, semicolons or tabs instead of commas, and other line ends are understood. Memory is bounded
by the longest line, whatever the size of the file. Values are kept as the texts they are.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path

import numpy as np

from rl_cli.core.errors import plain
from rl_cli.storage.untrusted import open_plain

MAX_LINE = 1 << 17
"""Bytes of a line; ours have some hundred."""

MAX_COLUMNS = 1_000

MAX_BYTES = 1 << 40

BLOCK = 1 << 16
"""Bytes read at a time of a plain table."""

DELIMITERS = ",;\t"

MAX_DIGITS = 19
"""Digits of a step, which is below 2**63."""

STEP = "step"
"""The column that each table has: a whole number."""


def columns(path: Path) -> list[str]:
    """Names of the columns. Raises OSError, and ValueError as `rows` does."""
    with open_plain(path, MAX_BYTES) as file:
        return _header(_lines(file))[0]


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows, one at a time; an incomplete last line, which a kill may leave, is skipped.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such table; the reason and the line.

    """
    with open_plain(path, MAX_BYTES) as file:
        lines = _lines(file)
        names, delimiter = _header(lines)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            for values in reader:
                if any(values):
                    yield _row(names, values, delimiter)
        except (csv.Error, ValueError) as error:
            raise ValueError(f"line {reader.line_num + 1}: {error}") from None


def numbers(path: Path, *names: str) -> np.ndarray:
    """Columns of the rows as numbers, (rows, names) float64; NaN: no value, no number, or no such column.

    Raises:
        OSError, ValueError: as `rows`.

    """
    if (found := _plain_numbers(path, names)) is not None:
        return found
    each = [[_number(row.get(name, "")) for name in names] for row in rows(path)]
    return np.array(each, dtype=np.float64).reshape(-1, len(names))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _plain_numbers(path: Path, names: Sequence[str]) -> np.ndarray | None:
    """`numbers` of a table as we write it, in a fifth of the time; None: anything of it is not as we write it."""
    with open_plain(path, MAX_BYTES) as file:
        first, rest, parts = file.readline(MAX_LINE), b"", [np.zeros((0, len(names)))]
        head = first.decode("ascii", "replace").removesuffix("\n").split(",")
        ended = first.endswith(b"\n") and len(head) <= MAX_COLUMNS
        if not ended or STEP not in head or len(set(head)) < len(head) or not _is_plain(first):
            return None
        places = [head.index(name) if name in head else None for name in names]
        while chunk := file.read(BLOCK):
            lines, end, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > MAX_LINE or not _is_plain(lines):
                return None
            part = _block(lines, head, places) if end else parts[0]
            if part is None:
                return None
            parts.append(part)
    return np.concatenate(parts)


def _is_plain(text: bytes) -> bool:
    return text.isascii() and not any(mark in text for mark in (b'"', b"\r", b"\0"))


def _block(lines: bytes, head: list[str], places: Sequence[int | None]) -> np.ndarray | None:
    table = [line.split(",") for line in lines.decode().split("\n")]
    if set(map(len, table)) != {len(head)}:
        return None
    steps = _column(table, head.index(STEP))
    sizes = set(map(len, steps))
    if not ("".join(steps).isdigit() and min(sizes) > 0 and max(sizes) < MAX_DIGITS):
        return None
    try:
        columns = [
            [float(v) if v else math.nan for v in _column(table, i)]
            if i is not None
            else [math.nan] * len(table)
            for i in places
        ]
    except ValueError:
        return None
    return np.array(columns).T


def _column(table: list[list[str]], place: int) -> list[str]:
    return [row[place] for row in table]


def _header(lines: Iterator[str]) -> tuple[list[str], str]:
    """Names of the columns, and the delimiter."""
    first = next(lines, None)
    if first is None:
        raise ValueError("no line is complete")
    first = first.removeprefix("\ufeff")
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([first], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise ValueError(f"line 1: {error}") from None
        if STEP in names:
            if len(set(names)) < len(names) or len(names) > MAX_COLUMNS:
                raise ValueError("a column occurs twice, or there are too many")
            return names, delimiter
    raise ValueError(f"no column is called {STEP}")


def _lines(file: BufferedReader) -> Iterator[str]:
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise ValueError(f"longer than {MAX_LINE:,} bytes")
        if not line.endswith(b"\n"):
            return
        if b"\0" in line:
            raise ValueError("a NUL byte")
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise ValueError("not text in UTF-8") from None


def _is_step(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < MAX_DIGITS


def _row(names: list[str], values: list[str], delimiter: str) -> dict[str, str]:
    if len(values) != len(names):
        raise ValueError(f"{len(values)} values, not {len(names)}")
    row = dict(zip(names, values, strict=True))
    if not _is_step(row[STEP]):
        raise ValueError(f"step {plain(row[STEP][:40])!r} is not a whole number")
    if delimiter != ",":  # of another program, which may write 0,5 or dates
        for name, value in row.items():
            _require_number(name, value)
    return row


def _require_number(name: str, value: str) -> None:
    try:
        float(value or 0)
    except ValueError:
        raise ValueError(f"{plain(name)} is {plain(value[:40])!r}, not a number") from None
