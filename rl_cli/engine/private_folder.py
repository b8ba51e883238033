"""A folder that only this user can write to. Native code is loaded from nowhere else.

Others can change a file if they can write to its folder, or can exchange a folder or a link on the way
to it. So every one of them is checked, from the root on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAME = "rl-cli"

MOST_LINKS = 40
"""Links on the way to a folder; as many as Linux follows."""


class Place(NamedTuple):
    """The folder in use. `refused`: why an earlier candidate is not used; empty if it is the first."""

    folder: Path
    refused: str


def find() -> Place:
    """The first of `candidates` that only this user can write to; it is created if it does not exist.

    Raises:
        RuntimeError: there is none; gives the reason for the first.

    """
    reasons: list[str] = []
    for folder in candidates():
        try:
            _make(folder)
            reason = problem(folder)
        except OSError as error:
            reason = f"{folder}: {error.strerror or error}"
        if reason is None:
            return Place(folder, reasons[0] if reasons else "")
        reasons.append(reason)
    raise RuntimeError(reasons[0])


def candidates() -> Iterator[Path]:
    """$XDG_CACHE_HOME/rl-cli; ~/.cache/rl-cli; rl-cli-<uid> in the folder of temporary files.

    The XDG standard: a relative $XDG_CACHE_HOME is ignored.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        yield base / NAME
    if (home := _home()).is_absolute():
        yield home / ".cache" / NAME
    user = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()).absolute() / f"{NAME}-{user}"


def _home() -> Path:
    """The user's home folder, which may not exist; not absolute if it is not known."""
    return Path(os.path.expanduser("~"))


def _make(folder: Path) -> None:
    """Create a folder and its parents, private as the XDG standard says; but no home folder."""
    if _home() in folder.parents and not _home().is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no home folder {_home()}")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(
            FileExistsError
        ):  # another process was faster, or a link to nowhere
            path.mkdir(mode=0o700)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def problem(folder: Path) -> str | None:
    """Why others may be able to change the files of an existing folder; None: they cannot.

    Root may own the folders above; where root is not mapped (in a container), the owner of `/` may.
    Everybody may write to one with the sticky bit, such as /tmp. Windows: not checked.

    Raises:
        OSError: a folder on the way to it cannot be read.

    """
    if not hasattr(os, "getuid"):
        return None
    user = os.getuid()
    trusted = {0, user, os.lstat("/").st_uid}
    last = os.lstat("/")
    for path in _way_to(folder):
        last = os.lstat(path)
        if last.st_uid not in trusted:
            return f"{path} belongs to another user"
        sticky = bool(last.st_mode & stat.S_ISVTX)
        if not stat.S_ISLNK(last.st_mode) and not sticky and _others_can_write(last):
            return f"other users can write to {path}"
    if last.st_uid != user:
        return f"{folder} belongs to another user"
    return f"other users can write to {folder}" if _others_can_write(last) else None


def _way_to(folder: Path) -> Iterator[Path]:
    """Every folder and link that the system passes from the root to an absolute path, that included."""
    here, rest, links = Path(folder.anchor), list(folder.parts[:0:-1]), 0
    yield here
    while rest:
        name = rest.pop()
        if name == "..":
            here = here.parent
            continue
        yield here / name
        if not (here / name).is_symlink():
            here = here / name
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = Path(os.readlink(here / name))
        if target.is_absolute():
            here = Path(target.anchor)
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _others_can_write(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    return bool(status.st_mode & stat.S_IWGRP) and not _is_own_group(status.st_gid)


def _is_own_group(gid: int) -> bool:
    """Whether a group is this user's alone, by the convention of private groups: both have one name."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    own = user.pw_gid == gid and group.gr_name == user.pw_name
    return own and set(group.gr_mem) <= {user.pw_name}


def is_own_file(status: os.stat_result) -> bool:
    """Whether this is a plain file of this user that others cannot write to."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not _others_can_write(status)
