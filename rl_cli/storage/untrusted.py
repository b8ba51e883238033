"""Read files from untrusted sources: regular files of bounded size, parsed as data only.

Every defect of a file raises OSError or ValueError with a short reason. The caller adds which file
it is and what to do.
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

MAX_YAML_BYTES = 1 << 16  # PyYAML needs a second for 200 kB

OPEN_FLAGS = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")


def open_plain(path: Path, limit: int) -> BufferedReader:
    """Open a file for reading without following links or blocking on pipes and devices.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not a regular file, or larger than `limit` bytes.

    """
    _require_regular(path.lstat().st_mode)  # before opening: opening a device can have side effects
    flags = os.O_RDONLY
    for name in OPEN_FLAGS:  # no system has all of them
        flags |= getattr(os, name, 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        info = os.fstat(file.fileno())
        _require_regular(info.st_mode)
        if info.st_size > limit:
            raise ValueError(f"too large: {info.st_size:,} bytes, at most {limit:,} are read")
    except BaseException:
        file.close()
        raise
    return file


def special_kind(mode: int) -> str | None:
    """What a path is, from its st_mode, with an article; None: a regular file."""
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return None if stat.S_ISREG(mode) else "a pipe or device"


def _require_regular(mode: int) -> None:
    if (kind := special_kind(mode)) is not None:
        raise ValueError(f"{kind}, not a regular file")


def read(path: Path, limit: int) -> bytes:
    """Read the whole file. Raises as `open_plain` does."""
    with open_plain(path, limit) as file:
        return file.read()


def read_checked(path: Path, size: int, sha256: str, limit: int, keep: bool = True) -> bytes:
    """Read a file of known size and SHA-256. It is hashed in blocks before it is held in memory.

    Args:
        path: of the file.
        size: expected size in bytes.
        sha256: expected hash, lower-case hexadecimal digits.
        limit: size in bytes above which the file is refused without hashing it.
        keep: False: check the file and return no bytes.

    Raises:
        OSError, ValueError: as `open_plain`, or size or hash differ.

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
    """Parse JSON. Raises ValueError if it is not JSON or nested too deeply."""
    try:
        return json.loads(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases: a few hundred bytes of them can expand to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("an alias (*name), which is not allowed here")
        return super().compose_node(parent, index)


def parse_yaml(data: bytes) -> Any:
    """Parse YAML of numbers, strings, lists and mappings.

    Raises:
        ValueError: it is not YAML, or has a tag of another type.

    """
    try:
        return _PlainLoader(data.decode()).get_single_data()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}".splitlines()[0]) from None
