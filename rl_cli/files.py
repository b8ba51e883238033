"""Writing files that are whole or not there, and tables that grow."""

from __future__ import annotations

import csv
import ctypes
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl_cli.errors import StorageError

FULL = (errno.ENOSPC, errno.EDQUOT)
RENAME_EXCHANGE, AT_FDCWD = 2, -100  # of Linux's renameat2


@contextmanager
def storing(path: Path, needs: int | None = None) -> Iterator[None]:
    """Turn an OSError while writing `path` into a StorageError that names it.

    Args:
        path: what is being written.
        needs: bytes that takes, told where the disk is full.

    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            _told(error, path, needs),
            str(path),
            "make room or choose another place with run_dir=<folder>",
        ) from error


def _told(error: OSError, path: Path, needs: int | None) -> str:
    if error.errno in FULL:
        room = "" if needs is None else f"needs {megabytes(needs)}, "
        return f"disk full ({error.strerror}): {room}{megabytes(free_bytes(path))} free"
    if error.errno == errno.EFBIG:
        return "cannot write: a file would be larger than this process may make (ulimit -f)"
    return f"cannot write: {error.strerror or error}"


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def free_bytes(path: Path) -> int:
    """Room on the filesystem that `path` is or would be on."""
    there = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
    return shutil.disk_usage(there).free


def write_synced(path: Path, *chunks: bytes | memoryview) -> None:
    """Write a file and wait until it is on the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part."""
    part = path.with_name(f".{path.name}.part")
    with storing(path, len(content)):
        try:
            write_synced(part, content)
            part.replace(path)
            sync_folder(path.parent)
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
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a filesystem without such a thing
            raise
    finally:
        os.close(handle)


def swap(a: Path, b: Path) -> bool:
    """Exchange two names in one step. False: this system or filesystem cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE)
    code = ctypes.get_errno()
    if done and code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), str(a))
    return not done


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
