"""Writing files that are whole or not there, and tables that grow."""

from __future__ import annotations

import csv
import ctypes
import errno
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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


def write_new(path: Path, *chunks: bytes | memoryview) -> None:
    """Write a new file; what has that name is not written into. It has to be synced as well."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        handle = os.open(path, flags, 0o666)
    except FileExistsError:  # left behind, or a link that leads to a file of somebody's
        path.unlink()
        handle = os.open(path, flags, 0o666)
    try:
        for chunk in chunks:
            left = memoryview(chunk)
            while left:
                left = left[os.write(handle, left) :]
    finally:
        os.close(handle)


def sync_files(paths: Collection[Path]) -> None:
    """Wait until files are on the disk; at once, since filesystems take that together."""
    if len(paths) == 1:
        sync(*paths)
        return
    with ThreadPoolExecutor(min(len(paths), 8)) as pool:
        list(pool.map(sync, paths))


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file in one step: readers see the old content or the new, never a part."""
    part = path.with_name(f".{path.name}.part")
    with storing(path, len(content)):
        try:
            write_new(part, content)
            sync(part)
            part.replace(path)
            sync_folder(path.parent)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(value, indent=2, default=str) + "\n").encode())


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a power cut."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a filesystem without such a thing
            raise


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
                _append(self.path, text.encode())
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


def _append(path: Path, content: bytes) -> None:
    """Add to a file that is there; what cannot be added whole is taken back."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        before = os.fstat(handle).st_size
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(handle, left) :]
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


def _line(values: list[Any]) -> str:
    class Collect(list[str]):
        write = list.append

    parts = Collect()
    csv.writer(parts, lineterminator="\n").writerow(values)
    return "".join(parts)
