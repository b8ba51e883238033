"""Folder lock: one process at a time writes into a folder; other processes get an error that names it.

.lock         locked with `filelock` (flock). The kernel releases it when the process ends.
.lock.owner   JSON that names the process, for the error message of other processes.
.lock.soft    the lock (`filelock.SoftFileLock`) on filesystems and systems without flock. filelock
              removes it when its process no longer exists on this host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import json
import os
import socket
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.core.errors import BadInput, StorageError
from rl_cli.storage.atomic_files import remove_parts, write_new
from rl_cli.storage.untrusted import parse_json, read, special_kind

if TYPE_CHECKING:
    from filelock import BaseFileLock

NAME = ".lock"

OWNER = ".lock.owner"

SOFT = ".lock.soft"

NO_FLOCK = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)

WAIT_SECONDS = 2.0
"""How long to wait for an owner file that is being written or a lock that is being released."""

MAX_OWNER_BYTES = 1 << 12

ENDED, BORN = 0, 19
"""Of the fields of `_stat_of`: the state, "Z" for a process that its parent has not waited for; the start time."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """The process that holds a lock.

    Args:
        pid, host: of the process.
        started: when it took the lock, ISO 8601.
        born: start time of the process in clock ticks since boot, which distinguishes it from a later
            process with the same pid; None where there is no /proc.

    """

    pid: int
    host: str
    started: str
    born: int | None

    @classmethod
    def this_process(cls) -> Owner:
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), now, _start_ticks(os.getpid()))

    def is_this_process(self) -> bool:
        return dataclasses.replace(Owner.this_process(), started=self.started) == self

    def is_on_this_host(self) -> bool:
        return self.host == socket.gethostname()

    def is_gone(self) -> bool:
        """Whether it is a process of this host that has ended. False for other hosts: unknown."""
        if not self.is_on_this_host() or os.name == "nt":  # os.kill would end it on Windows
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:  # it exists and belongs to another user
            return False
        fields = _stat_of(self.pid)
        if not fields:
            return False
        return fields[ENDED] == "Z" or self.born not in (None, int(fields[BORN]))


class FolderLock:
    """A held lock, from `take` to `release`. As a context manager it returns the folder.

    A forked child process does not hold it: `filelock` closes the child's file descriptor.
    """

    def __init__(self, folder: Path, lock: BaseFileLock) -> None:
        self.folder, self.lock, self.pid = folder, lock, os.getpid()

    @classmethod
    def take(cls, folder: Path) -> FolderLock:
        """Lock an existing folder for this process.

        Raises:
            BadInput: another process holds it (the error names pid, host and start), or a link or
                device has the name of the lock file.
            StorageError: the lock file cannot be created.

        """
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                lock = _acquire(folder)
            except OSError as error:
                raise StorageError(
                    f"cannot lock the folder: {error.strerror or error}",
                    str(folder),
                    "choose a writable folder: run_dir=<folder>",
                ) from error
            if lock is not None:
                remove_parts(folder)
                return cls(folder, lock)
            owner = holder(folder)
            is_known = owner is not None and not owner.is_gone()
            if is_known or time.monotonic() > deadline:
                raise _held_by(owner, folder)
            time.sleep(0.02)

    def release(self) -> None:
        """Release the lock and remove its files. Without effect in a forked child and when repeated.

        The files are removed while the lock is held. `filelock` discards a lock on a removed file,
        so a process that has opened the file meanwhile tries again with the new one.
        """
        if self.pid != os.getpid() or not self.lock.is_locked:
            return
        for name in (OWNER, NAME):
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
        with contextlib.suppress(OSError):
            self.lock.release()

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(folder: Path) -> Owner | None:
    """The process that the owner file names, a running one first; None without a readable file.

    Earlier versions of the program wrote the owner into `.lock` itself.
    """
    owners = [o for o in (_read_owner(folder / OWNER), _read_owner(folder / NAME)) if o]
    return next((o for o in owners if not o.is_gone()), owners[0] if owners else None)


def is_held(folder: Path) -> bool:
    """Whether another process holds the lock of a folder. One that was killed leaves its files, not the lock.

    Raises:
        StorageError: the lock file cannot be created.

    """
    if holder(folder) is None:
        return False
    try:
        FolderLock.take(folder).release()
    except BadInput:
        return True
    return False


def is_abandoned(folder: Path, pid: object) -> bool:
    """Whether no process trains in a folder whose status says `running`.

    Args:
        folder: of the run.
        pid: that wrote the status. It counts where the owner file is missing, as in a copy.

    """
    owner = holder(folder)
    if owner is None and type(pid) is int and pid > 0:
        owner = Owner(pid, socket.gethostname(), "", None)
    return owner is not None and owner.is_gone()


def _acquire(folder: Path) -> BaseFileLock | None:
    """The lock, held, with the owner file written; None: another process holds it."""
    for name in (NAME, SOFT):
        _require_regular(folder / name)
    for native, lock in _candidates(folder):
        try:
            if not _try_lock(lock):
                return None
        except OSError as error:
            if native and error.errno in NO_FLOCK:
                continue
            raise
        return _signed(folder, lock, native)
    return None


def _candidates(folder: Path) -> list[tuple[bool, BaseFileLock]]:
    """The locks to try, each with whether the operating system keeps it."""
    with warnings.catch_warnings():  # filelock warns at import where there is no flock
        warnings.simplefilter("ignore")
        from filelock import FileLock, SoftFileLock

    soft: BaseFileLock = SoftFileLock(folder / SOFT, thread_local=False)
    if issubclass(FileLock, SoftFileLock):  # its value where there is no flock
        return [(False, soft)]
    native = FileLock(folder / NAME, thread_local=False, fallback_to_soft=False)
    return [(True, native), (False, soft)]


def _try_lock(lock: BaseFileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def _signed(folder: Path, lock: BaseFileLock, native: bool) -> BaseFileLock | None:
    """Write the owner file; None, and the lock is released, if it names another live process."""
    part = folder / f"{OWNER}.{os.getpid()}"
    try:
        if _is_respected(_read_owner(folder / OWNER), native):
            lock.release()
            return None
        fields = dataclasses.asdict(Owner.this_process())
        write_new(part, [(json.dumps(fields) + "\n").encode()])
        part.replace(folder / OWNER)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        lock.release()
        raise
    return lock


def _is_respected(owner: Owner | None, native: bool) -> bool:
    """Whether an owner file that was found next to a free lock counts as a lock.

    Earlier versions locked with the owner file alone where there is no flock. A native lock that is
    free proves otherwise unless the process is known to run.
    """
    if owner is None or owner.is_this_process() or owner.is_gone():
        return False
    return not native or (owner.is_on_this_host() and owner.born is not None)


def _require_regular(path: Path) -> None:
    """Raises BadInput for a link, folder, pipe or device."""
    with contextlib.suppress(FileNotFoundError):
        if (kind := special_kind(path.lstat().st_mode)) is not None:
            raise BadInput(f"the lock file is {kind}", str(path), "remove it")


def _read_owner(path: Path) -> Owner | None:
    try:
        fields = parse_json(read(path, MAX_OWNER_BYTES))
    except (OSError, ValueError):
        return None
    return _owner(fields) if isinstance(fields, dict) else None


def _owner(fields: dict[str, Any]) -> Owner | None:
    pid, born = fields.get("pid"), fields.get("born")
    if type(pid) is not int or pid <= 0 or not (born is None or type(born) is int):
        return None
    return Owner(pid, str(fields.get("host")), str(fields.get("started")), born)


def _start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None where there is no /proc."""
    fields = _stat_of(pid)
    return int(fields[BORN]) if fields else None


def _stat_of(pid: int) -> list[str]:
    """What /proc says of a process after its name, see proc(5); empty where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        int(fields[BORN])
    except (OSError, ValueError, IndexError):
        return []
    return fields


def _held_by(owner: Owner | None, folder: Path) -> BadInput:
    process = "pid unknown"
    fix = "wait for it, stop it, or choose another folder"
    if owner is not None:
        process = f"pid {owner.pid} on {owner.host}, since {owner.started}"
        if not owner.is_on_this_host():
            fix += f"; if it no longer runs, delete {OWNER} and {SOFT}"
    return BadInput(f"another process is using this folder: {process}", str(folder / NAME), fix)
