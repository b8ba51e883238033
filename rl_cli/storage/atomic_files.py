"""Write files atomically and durably: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import math
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl_cli.core.errors import BadInput, StorageError
from rl_cli.core.start_folder import relative

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

BINARY: int = getattr(os, "O_BINARY", 0)  # Windows would translate line ends

RENAME_EXCHANGE, AT_FDCWD = 2, -100  # constants of Linux's renameat2


@contextmanager
def storing(path: Path, needs: int | None = None) -> Iterator[None]:
    """Turn an OSError while writing `path` into a StorageError that names it.

    Args:
        path: the file or folder that is written.
        needs: its size in bytes, which the message of a full disk states.

    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            _reason(error, path, needs),
            relative(path),
            "free disk space, or choose another folder with run_dir=<folder>",
        ) from error


@contextmanager
def writing_to(key: str) -> Iterator[None]:
    """Let a StorageError name the key of the folder: for files that do not belong to a run."""
    try:
        yield
    except StorageError as error:
        fix = f"free disk space, or choose another folder: {key}=<folder>"
        raise StorageError(error.what, error.where, fix) from error


def _reason(error: OSError, path: Path, needs: int | None) -> str:
    if error.errno in DISK_FULL:
        size = "" if needs is None else f"needs {megabytes(needs)}, "
        return f"disk full ({error.strerror}): {size}{megabytes(free_bytes(path))} free"
    if error.errno == errno.EFBIG:
        return "cannot write: the file would exceed this process's size limit (ulimit -f)"
    return f"cannot write: {error.strerror or error}"


def make_output_folder(folder: Path) -> None:
    """Create the folder of `output=`, and its parents.

    Raises:
        BadInput: it cannot be created.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"cannot write here: {error.strerror}", f"output={folder}", "output=<another folder>"
        ) from None


def megabytes(size: int) -> str:
    """A number of bytes for a message: "1.2 MB", or bytes below 100 kB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def free_bytes(path: Path) -> int:
    """Free bytes of the filesystem of `path`, which need not exist yet."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
    return shutil.disk_usage(existing).free


def write_new(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write a new file, replacing a file or link of that name. The caller syncs it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY
    try:
        handle = os.open(path, flags, 0o666)
    except FileExistsError:  # a leftover, or a link to another file
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
    """Wait until files are on the disk. In parallel: filesystems merge concurrent fsync calls."""
    if len(paths) == 1:
        sync(*paths)
        return
    with ThreadPoolExecutor(min(len(paths), 8)) as pool:
        list(pool.map(sync, paths))


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, content: bytes | Iterable[bytes], synced: bool = True) -> None:
    """Replace a file in one step and sync it; the old content is kept after an error.

    Args:
        path: of the file.
        content: the bytes, or an iterator of chunks, which may read the old content.
        synced: False: do not wait for the disk; after a power failure the file may be empty.

    Raises:
        StorageError: it cannot be written.

    """
    part = part_of(path)
    chunks = [content] if isinstance(content, bytes) else content
    with storing(path, len(content) if isinstance(content, bytes) else None):
        try:
            write_new(part, chunks)
            if synced:
                sync(part)
            part.replace(path)
            if synced:
                sync_folder(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def part_of(path: Path) -> Path:
    """Where `write_atomic` writes first. Processes and threads that write one file have one each."""
    return path.with_name(f".{path.name}.{os.getpid()}_{threading.get_ident()}.part")


OLD_SECONDS = 3_600
"""No write takes so long."""


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left of `write_atomic` in a folder."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(OSError):  # removed meanwhile, or not ours
            if PART.fullmatch(path.name) and time.time() - path.lstat().st_mtime > OLD_SECONDS:
                path.unlink()


PART = re.compile(r"\..+\.\d+_\d+\.part")


def append(path: Path, content: bytes) -> None:
    """Append to an existing file; after an OSError the file is as it was before."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | BINARY)
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


def write_json(path: Path, value: Mapping[str, Any], synced: bool = True) -> None:
    """Write JSON with `write_atomic`; values of other types, e.g. paths, become strings.

    Numbers that are not finite become null, because JSON has none.
    """
    try:
        text = json.dumps(value, indent=2, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(value), indent=2, default=str, allow_nan=False)
    write_atomic(path, (text + "\n").encode(), synced)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a power failure, where the filesystem supports it."""
    try:
        sync(path)
    except OSError as error:
        unsupported = error.errno in (errno.EINVAL, errno.ENOTSUP)
        if not unsupported and os.name != "nt":  # Windows opens no folders
            raise


def swap(a: Path, b: Path) -> bool:
    """Exchange two names in one step. False: the system or filesystem does not support it. Raises OSError."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE)
    code = ctypes.get_errno()
    if done and code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), str(a))
    return not done
