"""Reading checkpoints: a folder of plain arrays and JSON, checked before use.

checkpoints/<step>/manifest.json        what it is, the SHA-256 of the files beside it, and its own
                   policy.safetensors   weights and observation statistics: all that replay reads
                   state.safetensors    optimiser, replay, ... : what going on needs beside it
                   state.json           the same, for what is not an array
                   <name>-<i>-<version>.safetensors  a piece of a long table (types.Blocks)
checkpoints/best.json                   which of them evaluated best
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
    """It is whole as far as can be told, and of a format that only a later version can read."""


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


class _Broken(Exception):
    """A file of a checkpoint, and what is wrong with it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path, self.why = path, why


def why_broken(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, and with which file; None: every file of it is whole.

    No file is held in memory.
    """
    try:
        manifest = _manifest(checkpoint)
        for name in {POLICY, STATE, STATE_JSON, *manifest.files}:
            _checked(checkpoint, manifest, name, keep=False)
    except _Broken as broken:
        return f"{broken.path.name}: {broken.why}"
    except NewerCheckpoint as newer:
        return newer.what
    return None


def read_manifest(checkpoint: Path) -> Manifest:
    """The manifest, its seal and its schema checked, and that it is of this folder.

    Raises:
        NewerCheckpoint: it is of a format to come.
        BadInput: it is missing, or altered.

    """
    with _told(checkpoint):
        return _manifest(checkpoint)


def _manifest(checkpoint: Path) -> Manifest:
    path = checkpoint / MANIFEST
    if checkpoint.parent.name == "checkpoints" and checkpoint.is_symlink():
        raise _Broken(checkpoint, "a link, which may lead anywhere")
    with _at(path):
        try:
            manifest = decode(read(path, MAX_JSON_BYTES))
        except NewerFormat as newer:
            raise NewerCheckpoint(str(newer), str(path), "upgrade rl-cli") from None
    if re.fullmatch("[0-9]{9,}", checkpoint.name) and int(checkpoint.name) != manifest.step:
        raise _Broken(path, f"it is of step {manifest.step}, its folder of {checkpoint.name}")
    if POLICY not in manifest.files:
        raise _Broken(path, f"does not list {POLICY}")
    with _at(checkpoint):
        present = sorted(p.name for p in checkpoint.iterdir() if not p.name.startswith("."))
    for name in present:
        if name != MANIFEST and name not in manifest.files:
            raise _Broken(checkpoint / name, "the manifest does not list it; move it elsewhere")
    return manifest


def read_policy(checkpoint: Path, manifest: Manifest, limit: int = MAX_POLICY_BYTES) -> Arrays:
    """Weights and observation statistics, checked against the manifest and for finiteness.

    Raises:
        BadInput: the file is missing, altered, or larger than `limit` bytes.

    """
    with _told(checkpoint):
        arrays = _load(checkpoint, manifest, POLICY, limit)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise _Broken(checkpoint / POLICY, f"{name} is not finite")
    return arrays


def read_state(checkpoint: Path, manifest: Manifest) -> State:
    """What going on needs beside the policy.

    Raises:
        BadInput: a file is missing or altered.

    """
    with _told(checkpoint):
        memory = physical()
        if (size := sum(entry.bytes for entry in manifest.files.values())) > memory:
            raise _Broken(checkpoint, f"{size:,} bytes, more than this machine has memory")
        arrays = _load(checkpoint, manifest, STATE, memory)
        pieces = set(manifest.files)

        def piece(name: str) -> Arrays:
            pieces.remove(name)  # each is read once: a list of one name would take any memory
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
    """Say of which file it is that something is wrong."""
    try:
        yield
    except (BadInput, _Broken):
        raise
    except OSError as error:
        raise _Broken(path, error.strerror or str(error)) from None
    except Exception as error:  # whatever a parser makes of foreign bytes
        raise _Broken(path, str(error) or type(error).__name__) from None


@contextlib.contextmanager
def _told(checkpoint: Path) -> Iterator[None]:
    """Turn what is wrong into words for a person, with a checkpoint that could be used instead."""
    try:
        yield
    except _Broken as broken:
        folder = checkpoint.parent
        others = [folder / f"{s:09d}" for s in reversed(steps_in(folder))]
        whole = next((p for p in others if p != checkpoint and why_broken(p) is None), None)
        fix = (
            f"that of step {int(whole.name)} is whole: checkpoint={int(whole.name)}"
            if whole
            else "this run has no other that is whole"
        )
        raise BadInput(f"broken checkpoint: {broken.why}", str(broken.path), fix) from None
