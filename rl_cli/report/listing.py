"""What is under a folder of runs: one line per run, from small reads only."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from rl_cli.core.errors import plain
from rl_cli.storage import run_folder
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.storage.untrusted import open_plain

HEAD_BYTES = 1 << 12
RUN = re.compile(rb"format: \d+\nlabels:|labels: ?.*\n(?:- .*\n)*algo:")
"""The first lines of config.yaml of a run, as every version wrote them; early ones wrote no format."""
LABELS = re.compile(rb"^labels:\s*(?:\[([^,\]\n]+),([^,\]\n]+)\]|\n- (.+)\n- (.+)$)", re.MULTILINE)
"""The line of config.yaml with the names of algorithm and env; parsing the whole file takes 10 ms."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        folder: of the run.
        algo, env: the names given on the command line; "?": not known.
        state: running, completed, interrupted, failed, died, pruned, or unknown.
        step: the last step that status.json names.
        final: return of the last evaluation of a completed run; None: not known.
        size: bytes of all files.

    """

    folder: Path
    algo: str
    env: str
    state: str
    step: int
    final: float | None
    size: int


def entries(folders: Iterable[Path]) -> list[Entry]:
    """An entry per run folder. Folders of other programs, which have a config.yaml too, are left out."""
    heads = ((folder, _head(folder / "config.yaml")) for folder in folders)
    return [_entry(folder, head) for folder, head in heads if RUN.match(head)]


def _entry(folder: Path, head: bytes) -> Entry:
    status = run_folder.read_status(folder)
    algo, env = _labels(head)
    state, step, final = (status.get(key) for key in ("state", "step", "eval_return"))
    return Entry(
        folder,
        algo,
        env,
        plain(state) if isinstance(state, str) else "unknown",
        step if type(step) is int else 0,
        final if isinstance(final, float) else None,
        _size(folder),
    )


def _head(path: Path) -> bytes:
    try:
        with open_plain(path, 1 << 30) as file:
            return file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def _labels(head: bytes) -> tuple[str, str]:
    if (found := LABELS.search(head)) is None:
        return "?", "?"
    words = [word.decode(errors="replace").strip(" '\"") for word in found.groups() if word]
    return plain(words[0]), plain(words[1])


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    total, open_folders = 0, [str(folder)]
    while open_folders:
        try:
            with os.scandir(open_folders.pop()) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        open_folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:  # removed meanwhile, or not readable
            continue
    return total


def delete(folder: Path) -> None:
    """Delete a run folder that no process uses. Links in it are removed, not followed.

    Raises:
        BadInput: a process uses the folder.
        OSError: a file cannot be deleted.

    """
    with FolderLock.take(folder):
        shutil.rmtree(folder)
