"""Writing files that are whole or not there, and tables that grow."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl_cli.errors import StorageError


@contextmanager
def storing(path: Path) -> Any:
    """Turn an OSError while writing `path` into a StorageError that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write: {error.strerror or error}",
            str(path),
            "make room or choose another place with run_dir=<folder>",
        ) from error


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part."""
    part = path.with_name(f".{path.name}.part")
    with storing(path):
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(value, indent=2, default=str) + "\n").encode())


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class CsvTable:
    """A CSV file that rows of named values are appended to; a new name becomes a new column."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, list(columns)
        if path.exists():
            self.columns = self._read()[0]
        else:
            self._rewrite([])

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; missing values stay empty."""
        if new := [name for name in row if name not in self.columns]:
            rows = self._read()[1]
            self.columns += new
            self._rewrite(rows)
        with storing(self.path), self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)

    def sync(self) -> None:
        """Make the rows survive a power cut."""
        with storing(self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())

    def cut_after(self, step: int) -> None:
        """Drop the rows that a resumed run will write again."""
        self._rewrite([row for row in self._read()[1] if int(row["step"]) <= step])

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        with storing(self.path), self.path.open(newline="") as file:
            reader = csv.DictReader(line for line in file if line.endswith("\n"))  # none torn
            rows = list(reader)
            return list(reader.fieldnames or self.columns), rows

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        lines = [_line(self.columns)] + [
            _line([r.get(c) or "" for c in self.columns]) for r in rows
        ]
        write_atomic(self.path, "".join(lines).encode())


def _line(values: list[str]) -> str:
    class Collect(list[str]):
        write = list.append

    parts = Collect()
    csv.writer(parts, lineterminator="\n").writerow(values)
    return "".join(parts)
