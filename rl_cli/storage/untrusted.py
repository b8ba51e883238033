"""Reading files that somebody else may have made: plain, of a known size at most, data only.

Whatever is wrong with a file comes out as OSError or ValueError with half a line of why; the room
that asked says which file it was and what to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

MAX_JSON_BYTES = 1 << 20

MAX_YAML_BYTES = 1 << 16  # PyYAML takes a second for 200 kB

_FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")


def open_plain(path: Path, limit: int) -> BufferedReader:
    """Open a file for reading; no link is followed and no pipe or device waited for.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no plain file, or larger than `limit` bytes.

    """
    _require_plain(path.lstat().st_mode)  # before opening: to open a device may do something
    flags = os.O_RDONLY
    for name in _FLAGS:  # not every system has each
        flags |= getattr(os, name, 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        info = os.fstat(file.fileno())
        _require_plain(info.st_mode)
        if info.st_size > limit:
            raise ValueError(f"too large: {info.st_size:,} bytes, at most {limit:,} are read")
    except BaseException:
        file.close()
        raise
    return file


def _require_plain(mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise ValueError("a link, which may lead anywhere")
    if stat.S_ISDIR(mode):
        raise ValueError("a folder, not a file")
    if not stat.S_ISREG(mode):
        raise ValueError("not a plain file")


def read(path: Path, limit: int) -> bytes:
    """The whole file. Raises as `open_plain` does."""
    with open_plain(path, limit) as file:
        return file.read()


def read_checked(path: Path, size: int, sha256: str, limit: int, keep: bool = True) -> bytes:
    """A file whose size and SHA-256 are known; hashed piece by piece before any of it is held.

    Args:
        path: of the file.
        size: in bytes.
        sha256: in lower-case hexadecimal digits.
        limit: in bytes, above which it is not even hashed.
        keep: False: check only, and return nothing.

    Raises:
        OSError, ValueError: as `open_plain`, or it is not the file described.

    """
    with open_plain(path, limit) as file:
        found_size = os.fstat(file.fileno()).st_size
        if found_size != size:
            raise ValueError(f"{found_size} bytes, not {size}")
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise ValueError(f"SHA-256 {found[:12]}..., not {sha256[:12]}...")
        if not keep:
            return b""
        file.seek(0)
        return file.read()


def parse_json(data: bytes) -> Any:
    """Raises ValueError where it is no JSON, or nested without end."""
    try:
        return json.loads(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few hundred bytes of these can stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("an alias (*name), which is not used here")
        return super().compose_node(parent, index)


def parse_yaml(data: bytes) -> Any:
    """Numbers, words, lists and mappings; a tag that would make anything else is refused.

    Raises:
        ValueError: it is not of this kind.

    """
    try:
        return _PlainLoader(data.decode()).get_single_data()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}".splitlines()[0]) from None
