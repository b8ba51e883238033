"""Read checkpoints: folders of arrays and JSON, verified before use.

checkpoints/<step>/manifest.json        metadata, SHA-256 of every other file and of itself
                   policy.safetensors   weights and observation statistics: all that rl-eval reads
                   state.safetensors    arrays that resuming needs as well: optimizer, replay buffer
                   state.json           the same for values that are not arrays
                   <name>-<i>-<version>.safetensors  a piece of a long table (core.state.Blocks)
checkpoints/best.json                   step of the checkpoint with the best evaluation
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import safetensors.numpy

from rl_cli.core.errors import BadInput
from rl_cli.core.memory import physical
from rl_cli.core.types import Arrays, State
from rl_cli.storage.manifest import (
    MANIFEST,
    MAX_HEADER_BYTES,
    MAX_POLICY_BYTES,
    MAX_STATE_JSON_BYTES,
    POLICY,
    STATE,
    STATE_JSON,
    Manifest,
    NewerFormat,
    best_step,
    decode,
    steps_in,
)
from rl_cli.storage.serialization import unpack
from rl_cli.storage.untrusted import MAX_JSON_BYTES, parse_json, read, read_checked


class NewerCheckpoint(BadInput):
    """The checkpoint has a format that only a later version of the program can read."""


def find(path: Path, which: str = "latest") -> Path:
    """The folder of a checkpoint.

    Args:
        path: a run folder, its `checkpoints` folder, or the folder of one checkpoint.
        which: "best", "latest" or a step; unused if `path` is a checkpoint.

    Raises:
        BadInput: there is no such checkpoint; the error lists what exists.

    """
    if (path / MANIFEST).exists():
        if re.fullmatch("[0-9]+", which) and path.name.isdigit() and int(which) != int(path.name):
            what = f"this is the checkpoint of step {int(path.name)}, not {which}"
            raise BadInput(what, str(path), "name the run, or leave checkpoint= out")
        return path
    folder = path if steps_in(path) else path / "checkpoints"
    steps = steps_in(folder)
    if not path.exists():
        raise BadInput("no such folder", str(path), _runs_nearby(path))
    if not steps:
        inside = (
            ", ".join(sorted(p.name for p in path.iterdir())[:6]) if path.is_dir() else "a file"
        )
        raise BadInput(
            "no checkpoint here",
            str(path),
            f"name a run folder; this one contains: {inside or 'nothing'}",
        )
    if which == "best":
        best = best_step(folder)
        return folder / f"{steps[-1] if best is None else best:09d}"
    if which == "latest":
        return folder / f"{steps[-1]:09d}"
    if not (re.fullmatch("[0-9]+", which) and int(which) in steps):
        known = ", ".join(map(str, steps))
        raise BadInput(f"no checkpoint {which}", str(path), f"best, latest, or one of: {known}")
    return folder / f"{int(which):09d}"


def _runs_nearby(path: Path) -> str:
    parent = next((p for p in path.parents if p.is_dir()), Path())
    inside = sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))
    return f"{parent} contains: {', '.join(inside[-6:]) or 'no folders'}"


class _Broken(Exception):
    """A file of a checkpoint is missing or damaged."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path, self.why = path, why


def why_broken(checkpoint: Path) -> str | None:
    """The first damaged file of a checkpoint and its defect; None: every file is intact.

    Files are hashed in blocks and not held in memory.
    """
    try:
        manifest = _manifest(checkpoint)
        state = (STATE, STATE_JSON) if manifest.has_state else ()
        for name in {POLICY, *state, *manifest.files}:
            _checked(checkpoint, manifest, name, keep=False)
    except _Broken as broken:
        return f"{broken.path.name}: {broken.why}"
    except NewerCheckpoint as newer:
        return newer.what
    return None


def read_manifest(checkpoint: Path) -> Manifest:
    """The manifest, after a check of its seal, its schema and its step.

    Raises:
        NewerCheckpoint: its format is of a later version.
        BadInput: it is missing or altered.

    """
    with _as_bad_input(checkpoint):
        return _manifest(checkpoint)


def _manifest(checkpoint: Path) -> Manifest:
    path = checkpoint / MANIFEST
    if checkpoint.parent.name == "checkpoints" and checkpoint.is_symlink():
        raise _Broken(checkpoint, "a link, not a folder")
    with _at(path):
        try:
            manifest = decode(read(path, MAX_JSON_BYTES))
        except NewerFormat as newer:
            raise NewerCheckpoint(str(newer), str(path), "upgrade rl-cli") from None
    if re.fullmatch("[0-9]{9,}", checkpoint.name) and int(checkpoint.name) != manifest.step:
        raise _Broken(path, f"its step is {manifest.step}, its folder's is {int(checkpoint.name)}")
    if POLICY not in manifest.files:
        raise _Broken(path, f"does not list {POLICY}")
    with _at(checkpoint):
        present = sorted(p.name for p in checkpoint.iterdir() if not p.name.startswith("."))
    for name in present:
        if name != MANIFEST and name not in manifest.files:
            raise _Broken(checkpoint / name, "the manifest does not list it; move it elsewhere")
    return manifest


def read_policy(checkpoint: Path, manifest: Manifest, limit: int = MAX_POLICY_BYTES) -> Arrays:
    """Weights and observation statistics by name, checked for their hash and finite values.

    Raises:
        BadInput: the file is missing, altered, not finite, or larger than `limit` bytes.

    """
    with _as_bad_input(checkpoint):
        arrays = _load(checkpoint, manifest, POLICY, limit)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise _Broken(checkpoint / POLICY, f"{name} is not finite")
    return arrays


def read_state(checkpoint: Path, manifest: Manifest) -> State:
    """The state that resuming needs in addition to the policy.

    Raises:
        BadInput: a file is missing or altered, or they are larger than this machine's memory.

    """
    with _as_bad_input(checkpoint):
        memory = physical()
        if (size := sum(entry.bytes for entry in manifest.files.values())) > memory:
            raise _Broken(checkpoint, f"{size:,} bytes, more than the memory of this machine")
        arrays = _load(checkpoint, manifest, STATE, memory)
        pieces = set(manifest.files)

        def piece(name: str) -> Arrays:
            pieces.remove(
                name
            )  # each is read once: a list that repeats a name could fill the memory
            return _load(checkpoint, manifest, name, memory)

        with _at(checkpoint / STATE_JSON):
            tree = parse_json(_checked(checkpoint, manifest, STATE_JSON))
            return cast(State, unpack(tree, arrays, piece))


def _load(checkpoint: Path, manifest: Manifest, name: str, limit: int) -> Arrays:
    data = _checked(checkpoint, manifest, name, limit)
    with _at(checkpoint / name):
        header = int.from_bytes(data[:8], "little")
        if header > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {header:,} bytes")
        return safetensors.numpy.load(data)


def _checked(
    checkpoint: Path, manifest: Manifest, name: str, limit: int | None = None, keep: bool = True
) -> bytes:
    if limit is None:
        limit = MAX_STATE_JSON_BYTES if name == STATE_JSON else physical()
    entry = manifest.files.get(name)
    if entry is None:
        raise _Broken(checkpoint / MANIFEST, f"does not list {name}")
    with _at(checkpoint / name):
        return read_checked(checkpoint / name, entry.bytes, entry.sha256, limit, keep)


@contextlib.contextmanager
def _at(path: Path) -> Iterator[None]:
    """Turn any error in the body into _Broken with this path."""
    try:
        yield
    except (BadInput, _Broken):
        raise
    except OSError as error:
        raise _Broken(path, error.strerror or str(error)) from None
    except Exception as error:  # a parser may raise anything on foreign bytes
        raise _Broken(path, str(error) or type(error).__name__) from None


@contextlib.contextmanager
def _as_bad_input(checkpoint: Path) -> Iterator[None]:
    """Turn _Broken into BadInput that names an intact checkpoint of the run, if there is one."""
    try:
        yield
    except _Broken as broken:
        folder = checkpoint.parent
        others = [folder / f"{s:09d}" for s in reversed(steps_in(folder))]
        intact = next((p for p in others if p != checkpoint and why_broken(p) is None), None)
        fix = (
            f"use the intact checkpoint of step {int(intact.name)}: checkpoint={int(intact.name)}"
            if intact
            else "this run has no other intact checkpoint"
        )
        raise BadInput(f"broken checkpoint: {broken.why}", str(broken.path), fix) from None
