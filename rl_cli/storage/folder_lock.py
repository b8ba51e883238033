"""One process at a time writes into a folder: a lock that says who holds it.

The lock is the kernel's (flock), which goes with the process however that ends. Where a filesystem
has none, the lock file's existence is the lock, and one whose process is gone is taken over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path

from rl_cli.core.errors import BadInput, StorageError

NAME = ".lock"

OWNER = ".lock.owner"
"""The lock where there is no flock."""

NO_FLOCK = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)

PATIENCE = 2.0
"""Seconds to wait for a holder to have written its name, or for a vanishing lock to be gone."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who holds a lock. `born`: the kernel's start time of the process, which a reused pid lacks."""

    pid: int
    host: str
    started: str
    born: int | None

    @classmethod
    def me(cls) -> Owner:
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(os.getpid(), socket.gethostname(), now, _born(os.getpid()))

    def is_gone(self) -> bool:
        """A process of this host that has ended. Of another host nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return self.born is not None and _born(self.pid) not in (self.born, None)


class FolderLock:
    """Held from `take` to `release`; as a context it gives the folder.

    A forked child does not inherit it: what the parent holds ends with the parent.
    """

    def __init__(self, folder: Path, handle: int) -> None:
        self.folder, self.handle = folder, handle
        _held.append(self)

    @classmethod
    def take(cls, folder: Path) -> FolderLock:
        """Lock an existing folder for this process.

        Raises:
            BadInput: another process holds it; names its pid and host.
            StorageError: no lock file can be made there.

        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                handle = _lock(folder / NAME)
            except OSError as error:
                raise StorageError(
                    f"cannot lock the folder: {error.strerror or error}",
                    str(folder),
                    "choose a folder that can be written to: run_dir=<folder>",
                ) from error
            if handle is not None:
                return cls(folder, handle)
            owner = holder(folder)
            if owner is not None or time.monotonic() > deadline:
                raise _held_by(owner, folder)
            time.sleep(0.02)  # just taken, or just let go

    def release(self) -> None:
        """Let go, once; the file goes as well."""
        if self not in _held:
            return
        _held.remove(self)
        with contextlib.suppress(OSError):
            if _same(self.handle, self.folder / OWNER):
                (self.folder / OWNER).unlink()
                (self.folder / NAME).unlink()
            elif _same(self.handle, self.folder / NAME):
                (self.folder / NAME).unlink()
        os.close(self.handle)

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, *_: object) -> None:
        self.release()


_held: list[FolderLock] = []


def _drop_in_child() -> None:
    for lock in _held:
        os.close(lock.handle)
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)


def holder(folder: Path) -> Owner | None:
    """Who the lock file names; None where there is none, or nothing readable in it."""
    return _read(folder / NAME) or _read(folder / OWNER)


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _lock(path: Path) -> int | None:
    """An open file that holds the lock, our name in it; None: somebody else holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)  # never inherited by what is executed
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = _same(handle, path)  # not one that its holder has removed meanwhile
    except BlockingIOError:
        mine = False
    except OSError as error:
        os.close(handle)
        if error.errno not in NO_FLOCK:
            raise
        return _lock_by_existence(path)
    if not mine:
        os.close(handle)
        return None
    _sign(handle)
    return handle


def _lock_by_existence(path: Path) -> int | None:
    """The same where the kernel has no locks: a hard link is made by one process only."""
    lock = path.with_name(OWNER)
    own = path.with_name(f"{OWNER}.{socket.gethostname()}.{os.getpid()}")
    handle = os.open(own, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        _sign(handle)
        if _claim(own, lock):
            return handle
    except OSError:
        os.close(handle)
        raise
    finally:
        own.unlink(missing_ok=True)
    os.close(handle)
    return None


def _claim(own: Path, lock: Path) -> bool:
    """Make `lock` a second name of our signed file `own`; False: it is somebody else's.

    Of those who find a dead process's lock one may put its own in that place: the one who holds
    the lock on it, which has the dead one's name and is claimed in the same way. So nobody ever
    moves a lock whose process is alive, and one who dies here is succeeded like any other.
    """
    with contextlib.suppress(FileExistsError):
        os.link(own, lock)
        return True
    owner = _read(lock)
    if owner is None or not owner.is_gone():
        return False
    succession = lock.with_name(f"{lock.name}.after.{owner.pid}.{owner.born}")
    if not _claim(own, succession):
        return False
    try:
        if _read(lock) != owner:  # others succeeded it before we came
            return False
        spare = own.with_name(f"{own.name}.new")
        spare.unlink(missing_ok=True)
        os.link(own, spare)
        spare.replace(lock)  # at once: the place is never empty
        return True
    finally:
        succession.unlink()


def _sign(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, (json.dumps(dataclasses.asdict(Owner.me())) + "\n").encode(), 0)


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _born(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None where there is no /proc."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _held_by(owner: Owner | None, folder: Path) -> BadInput:
    told = "pid unknown"
    if owner is not None:
        told = f"pid {owner.pid} on {owner.host}, since {owner.started}"
    return BadInput(
        f"another process is at work in this folder: {told}",
        str(folder / NAME),
        "wait for it, stop it, or choose another folder",
    )
