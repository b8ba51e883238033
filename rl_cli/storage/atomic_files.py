"""Writing files that are whole or not there, and tables that grow."""

from __future__ import annotations

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

from rl_cli.core.errors import StorageError

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
