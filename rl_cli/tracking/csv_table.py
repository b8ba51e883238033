"""TODO."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli.storage.atomic_files import append, storing, write_atomic


class CsvTable:
    """A CSV file that rows of named values are appended to; a new name becomes a new column.

    A row that cannot be written waits in `unwritten` and is written with the next one.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, list(columns)
        self.unwritten: list[Mapping[str, Any]] = []
        if path.exists():
            self.columns = self._read()[0]
        else:
            self._rewrite(self.columns, [])

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Add rows; missing values stay empty.

        Raises:
            StorageError: they are not in the file, nor a part of them; they wait.

        """
        self.unwritten += rows
        self.write_out()

    def write_out(self) -> None:
        """Write the rows that wait. Raises as `append` does."""
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
        """Drop the rows that a resumed run will write again."""
        self._rewrite(self.columns, [r for r in self._read()[1] if int(r["step"]) <= step])

    def _read(self) -> tuple[list[str], list[Mapping[str, Any]]]:
        with storing(self.path), self.path.open(newline="") as file:
            reader = csv.DictReader(line for line in file if line.endswith("\n"))  # none torn
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
