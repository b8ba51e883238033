"""provenance.json: what each start of a run recorded about itself; it may come from anybody.

{"format": 1, "starts": [...]}: the first start and each resume, as `Start`. `provenance.diff` holds the uncommitted
changes of the working folder at the first start, `provenance_<n>.diff` those at start n, if they are others.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_cli.core.errors import plain
from rl_cli.storage.atomic_files import write_atomic
from rl_cli.storage.untrusted import MAX_JSON_BYTES, parse_json, read

NAME = "provenance.json"

FORMAT = 1

MAX_STARTS = 100
"""Starts that are kept: the first and the latest."""

MAX_TEXT = 500
"""Characters of a value that is read."""

MAX_VALUES = 200
"""Values of a mapping or list that are read."""


@dataclasses.dataclass(frozen=True)
class Start:
    """One start of a run.

    Attributes:
        step: at which it began.
        time: ISO 8601, with the zone.
        command: the words of the command line.
        folder: the current folder.
        git: commit, branch, changed and untracked files, size and SHA-256 of the diff; empty: no repository.
        machine: host, system, processor, number of processors.
        packages: name -> version.
        conditions: what may decide bits (`training.conditions`).
        sources: digests of an algorithm and an env that are the user's own, by what they are.
        compiled: whether the update step was compiled; None: there was no update.
        differs: what differs from the start before, in words.

    """

    step: int = 0
    time: str = ""
    command: Sequence[str] = ()
    folder: str = ""
    git: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    machine: Mapping[str, str] = dataclasses.field(default_factory=dict)
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    conditions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    compiled: bool | None = None
    differs: Sequence[str] = ()


def diff_name(start: int) -> str:
    """File of the uncommitted changes at start number `start`, from 0."""
    return f"provenance_{start + 1}.diff" if start else "provenance.diff"


def write_starts(folder: Path, starts: Sequence[Start]) -> None:
    """Write provenance.json, without waiting for the disk. Raises StorageError."""
    kept = [dataclasses.asdict(each) for each in (*starts[:1], *starts[1:][-(MAX_STARTS - 1) :])]
    while len(text := _file(kept)) > MAX_JSON_BYTES and len(kept) > 1:
        del kept[1]  # the first one and the latest ones are kept
    write_atomic(folder / NAME, text, synced=False)


def _file(starts: list[dict[str, Any]]) -> bytes:
    return (json.dumps({"format": FORMAT, "starts": starts}, indent=1) + "\n").encode()


def read_starts(folder: Path) -> list[Start]:
    """The starts of a run; empty: the file is missing, as in runs of earlier versions, or not readable."""
    try:
        content = parse_json(read(folder / NAME, MAX_JSON_BYTES))
    except (OSError, ValueError):
        return []
    starts = content.get("starts") if isinstance(content, dict) else None
    if not isinstance(starts, list):
        return []
    return [_start(value) for value in starts[-MAX_STARTS:] if isinstance(value, dict)]


def _start(value: Mapping[str, Any]) -> Start:
    step, compiled, git = value.get("step"), value.get("compiled"), value.get("git")
    return Start(
        step=step if type(step) is int and 0 <= step < 2**53 else 0,
        time=_text(value.get("time")),
        command=_texts(value.get("command")),
        folder=_text(value.get("folder")),
        git=_git(git) if isinstance(git, dict) else {},
        machine=_mapping(value.get("machine")),
        packages=_mapping(value.get("packages")),
        conditions=_mapping(value.get("conditions")),
        sources=_mapping(value.get("sources")),
        compiled=compiled if isinstance(compiled, bool) else None,
        differs=_texts(value.get("differs")),
    )


def _git(value: Mapping[str, Any]) -> dict[str, Any]:
    size = value.get("diff_bytes")
    return {
        **{name: _text(value.get(name)) for name in ("commit", "branch", "diff_sha256")},
        **{name: _texts(value.get(name)) for name in ("changed", "untracked")},
        "diff_bytes": size if type(size) is int and 0 <= size < 2**53 else 0,
    }


def _text(value: Any) -> str:
    return plain(value, MAX_TEXT) if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [_text(item) for item in value[:MAX_VALUES]] if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, str]:
    items = list(value.items())[:MAX_VALUES] if isinstance(value, dict) else []
    return {_text(key): _text(item) for key, item in items if isinstance(item, str)}
