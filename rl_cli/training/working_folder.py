"""The git state of the folder in which a command was started."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

TIMEOUT = 3.0
"""Seconds for a call of git; a repository that takes longer counts as unknown."""

MAX_DIFF = 1 << 18
"""Bytes of the diff that are kept."""

MAX_FILES = 50
"""Names of files that are kept."""

SAFE = ("-c", "core.fsmonitor=false", "-c", "core.quotepath=true")
"""Settings that keep git from starting a daemon, and names in ASCII."""


@dataclasses.dataclass(frozen=True)
class GitState:
    """A commit, and what differs from it.

    Attributes:
        commit: full hash; empty: there is none yet.
        branch: its name; empty: none is checked out.
        changed: tracked files with uncommitted changes.
        untracked: files and folders that git neither tracks nor ignores.
        diff: the uncommitted changes, as `git apply` reads them; at most MAX_DIFF bytes.
        diff_bytes: of the whole diff.
        diff_sha256: of the whole diff; empty: nothing is changed.

    """

    commit: str
    branch: str
    changed: Sequence[str]
    untracked: Sequence[str]
    diff: bytes
    diff_bytes: int
    diff_sha256: str


def git_state(folder: Path) -> GitState | None:
    """The state of the repository of a folder; None: there is none, no git, or it does not answer in time."""
    status = _git(folder, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
    if status is None:
        return None
    head: dict[str, str] = {}
    changed, untracked = list[str](), list[str]()
    entries = iter(status.decode(errors="replace").split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            name, _, value = rest.partition(" ")
            head[name] = value
        elif kind == "?":
            untracked.append(rest)
        elif kind in ("1", "u", "2"):
            changed.append(rest.split(" ", {"1": 7, "2": 8, "u": 9}[kind])[-1])
            if kind == "2":  # renamed: the former name follows
                next(entries, "")
    commit, branch = head.get("branch.oid", ""), head.get("branch.head", "")
    commit = "" if commit == "(initial)" else commit
    diff = (_diff(folder) or b"") if changed and commit else b""
    return GitState(
        commit,
        "" if branch == "(detached)" else branch,
        changed[:MAX_FILES],
        untracked[:MAX_FILES],
        diff[:MAX_DIFF],
        len(diff),
        hashlib.sha256(diff).hexdigest() if diff else "",
    )


def _diff(folder: Path) -> bytes | None:
    return _git(folder, "diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--no-textconv")


def _git(folder: Path, *words: str) -> bytes | None:
    """The output of a call of git; None: it failed."""
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *SAFE, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=env,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
