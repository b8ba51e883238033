"""The folder in which a command was started. An env may change the current folder at any time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rl_cli.core.errors import plain

_folders: list[Path] = []


@contextmanager
def remembered() -> Iterator[Path]:
    """The current folder is the start folder during the body, and the current one again after it."""
    folder = Path.cwd()
    _folders.append(folder)
    try:
        yield folder
    finally:
        _folders.pop()
        with contextlib.suppress(OSError):  # it may have been deleted
            os.chdir(folder)


def start_folder() -> Path:
    """The folder that relative paths are relative to."""
    return _folders[-1] if _folders else Path.cwd()


def absolute(path: Path) -> Path:
    """An absolute path for a relative one that the user gave."""
    return start_folder() / path


def relative(path: Path) -> str:
    """A path relative to the start folder, if it is inside, to be read."""
    return plain(path_here(path))


def path_here(path: Path) -> str:
    """As `relative`, whole and unescaped: for a command line to paste."""
    try:
        return str(absolute(path).resolve().relative_to(start_folder()))
    except ValueError:
        return str(path)
