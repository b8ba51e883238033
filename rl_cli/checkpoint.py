"""Reading checkpoints: a folder of plain arrays and JSON, checked before use.

checkpoints/<step>/manifest.json        what it is, and the SHA-256 of the files beside it
                   policy.safetensors   weights and observation statistics: all that replay reads
                   state.safetensors    optimiser, replay, ... : what going on needs beside it
                   state.json           the same, for what is not an array
checkpoints/best.json                   which of them evaluated best
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pydantic
import safetensors.numpy
from pydantic import ConfigDict

from rl_cli.config import build
from rl_cli.errors import BadInput
from rl_cli.types import Arrays, State

FORMAT: Literal[1] = 1
POLICY, STATE, STATE_JSON, MANIFEST = (
    "policy.safetensors",
    "state.safetensors",
    "state.json",
    "manifest.json",
)
MAX_JSON_BYTES = 1 << 20


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class FileEntry:
    sha256: str
    bytes: int


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Manifest:
    """What a checkpoint says of itself. `algo` and `env` are checked against their own schemas."""

    format: Literal[1]
    step: int
    seed: int
    algo: dict[str, Any]
    env: dict[str, Any]
    eval: dict[str, Any] | None  # seed, greedy and mean return of the evaluation at this step
    versions: dict[str, str]
    files: dict[str, FileEntry]


def steps_in(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if re.fullmatch("[0-9]+", p.name))


def best_step(folder: Path) -> int | None:
    """Step of the best checkpoint, if one has been evaluated and is still there."""
    try:
        step = json.loads((folder / "best.json").read_text())["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return step if step in steps_in(folder) else None


def find(path: Path, which: str = "latest") -> Path:
    """The checkpoint meant by a run folder (`which`: best, latest or a step) or by its own folder.

    Raises:
        BadInput: there is none; says what is there instead.

    """
    if (path / MANIFEST).exists():
        return path
    folder = path if path.name == "checkpoints" else path / "checkpoints"
    steps = steps_in(folder)
    if not path.exists():
        raise BadInput("no such folder", str(path), _runs_nearby(path))
    if not steps:
        inside = (
            ", ".join(sorted(p.name for p in path.iterdir())[:6]) if path.is_dir() else "a file"
        )
        raise BadInput(
            "no checkpoint here", str(path), f"name a run folder; this holds: {inside or 'nothing'}"
        )
    if which == "best":
        best = best_step(folder)
        return folder / f"{steps[-1] if best is None else best:09d}"
    if which == "latest":
        return folder / f"{steps[-1]:09d}"
    if not (re.fullmatch("[0-9]+", which) and int(which) in steps):
        have = ", ".join(map(str, steps))
        raise BadInput(f"no checkpoint {which}", str(path), f"best, latest, or one of: {have}")
    return folder / f"{int(which):09d}"


def _runs_nearby(path: Path) -> str:
    parent = next((p for p in path.parents if p.is_dir()), Path())
    inside = sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))
    return f"{parent} holds: {', '.join(inside[-6:]) or 'no folders'}"


def read_manifest(checkpoint: Path) -> Manifest:
    """The manifest, its schema checked.

    Raises:
        BadInput: it is missing, no JSON, or not of this format.

    """
    path = checkpoint / MANIFEST
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("too large")
        raw = json.loads(path.read_text())
        if raw["format"] > FORMAT:
            raise BadInput(
                f"checkpoint format {raw['format']} is newer than this program's {FORMAT}",
                str(path),
                "upgrade rl-cli",
            )
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _broken(path, f"not a manifest ({error})") from None
    try:
        return build(Manifest, raw)
    except BadInput as error:
        raise _broken(path, error.what) from None


def read_policy(checkpoint: Path, manifest: Manifest) -> Arrays:
    """Weights and observation statistics, checked against the manifest and for finiteness."""
    arrays = _load(checkpoint, manifest, POLICY)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise _broken(checkpoint / POLICY, f"{name} is not finite")
    return arrays


def read_state(checkpoint: Path, manifest: Manifest) -> State:
    """What going on needs beside the policy."""
    tree = json.loads(_checked(checkpoint, manifest, STATE_JSON))
    return cast(State, unpack(tree, _load(checkpoint, manifest, STATE)))


def _load(checkpoint: Path, manifest: Manifest, name: str) -> Arrays:
    data = _checked(checkpoint, manifest, name)
    try:
        return safetensors.numpy.load(data)
    except Exception as error:
        raise _broken(checkpoint / name, str(error)) from None


def _checked(checkpoint: Path, manifest: Manifest, name: str) -> bytes:
    path, entry = checkpoint / name, manifest.files.get(name)
    if entry is None:
        raise _broken(checkpoint / MANIFEST, f"does not list {name}")
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise _broken(path, f"{size} bytes, not {entry.bytes}")
        data = path.read_bytes()
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from None
    found = hashlib.sha256(data).hexdigest()
    if found != entry.sha256:
        raise _broken(path, f"SHA-256 {found[:12]}..., not {entry.sha256[:12]}...")
    return data


def _broken(path: Path, why: str) -> BadInput:
    folder = path.parent.parent
    others = ", ".join(str(s) for s in steps_in(folder) if f"{s:09d}" != path.parent.name)
    fix = f"use another one: checkpoint=<step> of {others}" if others else "this run has no other"
    return BadInput(f"broken checkpoint: {why}", str(path), fix)


def unpack(tree: Any, arrays: Arrays) -> Any:
    """The inverse of `pack`; every array comes back as numpy."""
    if isinstance(tree, dict):
        if set(tree) == {"$array"}:
            return arrays[tree["$array"]]
        return {key: unpack(part, arrays) for key, part in tree.items()}
    return [unpack(part, arrays) for part in tree] if isinstance(tree, list) else tree
