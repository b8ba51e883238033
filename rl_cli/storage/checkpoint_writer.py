"""Writing checkpoints: whole or not there, synced, the oldest let go.

Everything is written under a hidden name, the manifest last; the last act is a rename.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Container
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput, RunError
from rl_cli.core.state import Piece
from rl_cli.core.types import Arrays, State
from rl_cli.storage.atomic_files import (
    free_bytes,
    storing,
    swap,
    sync_files,
    sync_folder,
    write_json,
    write_new,
)
from rl_cli.storage.checkpoint_reader import read_manifest
from rl_cli.storage.manifest import (
    FORMAT,
    MANIFEST,
    MAX_HEADER_BYTES,
    MAX_POLICY_BYTES,
    MAX_STATE_JSON_BYTES,
    POLICY,
    STATE,
    STATE_JSON,
    FileEntry,
    Manifest,
    best_step,
    encode,
    steps_in,
)
from rl_cli.storage.serialization import Chunk, as_safetensors, header_bytes, pack
from rl_cli.storage.untrusted import MAX_JSON_BYTES

BEST = "best.json"

RECORDED = ("torch", "numpy", "gymnasium", "rl-cli")


@dataclasses.dataclass(frozen=True)
class Identity:
    """The part of a manifest that is the same for every checkpoint of a run."""

    seed: int
    algo: AlgoConfig
    env: EnvConfig


class _Kept(NamedTuple):
    """A file of the last checkpoint, and what tells that nobody has written into it since."""

    path: Path
    entry: FileEntry
    stamp: tuple[int, int, int]


class CheckpointStore:
    """The checkpoints of one run.

    Pieces of long tables (`types.Blocks`) that have not changed since the last save are not written
    again: the new checkpoint gets a hard link to the file in the last one. Each folder is whole by
    itself all the same. Links are made only to what this object has written.
    """

    def __init__(self, folder: Path, identity: Identity, keep: int) -> None:
        self.folder, self.identity, self.keep = folder, identity, keep
        self.last: dict[str, _Kept] = {}

    def save(
        self, step: int, policy: Arrays, state: State, evaluation: dict[str, Any] | None, best: bool
    ) -> Path:
        """Write checkpoint `step`, then let go of the oldest beyond `keep` (never of the best).

        Everything is written and synced under a hidden name; the last act is a rename. Nothing is
        removed before that.

        Raises:
            StorageError: nothing of the new checkpoint is left, the older ones are as they were
                (it is there, and whole, where only the last sync has failed).

        """
        target = self.folder / f"{step:09d}"
        part = self.folder / f".{target.name}.part"
        contents = _Contents(policy, *pack(state))
        needs = contents.bytes_beside(self.last)
        if needs > free_bytes(self.folder):  # worth a closer look, which takes time
            needs = contents.bytes_beside(self.last, packed=True)
        with storing(target, needs):
            if needs > free_bytes(self.folder):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._make_folder()
            try:
                files = self._write(part, step, contents, evaluation)
                _publish(part, target)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        self.last = {n: kept._replace(path=target / n) for n, kept in files.items()}
        if best and evaluation is not None:
            write_json(self.folder / BEST, {"step": step, **evaluation})
        self._prune()
        return target

    def _make_folder(self) -> None:
        """`checkpoints` itself, but not the run's folder where that has been deleted."""
        if not self.folder.is_dir():
            self.folder.mkdir()
            sync_folder(self.folder.parent)

    def _write(
        self, part: Path, step: int, contents: _Contents, evaluation: dict[str, Any] | None
    ) -> dict[str, _Kept]:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        files: dict[str, _Kept] = {}
        for name in contents.pieces:
            files[name] = self._link(part / name) or _write(part / name, contents.chunks(name))
        for name in (POLICY, STATE, STATE_JSON):
            files[name] = _write(part / name, contents.chunks(name))
        manifest = Manifest(
            format=FORMAT,
            step=step,
            seed=self.identity.seed,
            algo=dataclasses.asdict(self.identity.algo),
            env=dataclasses.asdict(self.identity.env),
            eval=evaluation,
            versions={name: _version(name) for name in RECORDED},
            files={name: kept.entry for name, kept in files.items()},
        )
        _write(part / MANIFEST, [encode(manifest)])
        written = [kept.path for kept in files.values() if kept.path.parent == part]
        sync_files([*written, part / MANIFEST])
        sync_folder(part)
        return files

    def _link(self, new: Path) -> _Kept | None:
        """Take a file over from the last checkpoint. None: it has to be written."""
        kept = self.last.get(new.name)
        try:
            if kept is None or _stamp(kept.path) != kept.stamp:
                return None
            os.link(kept.path, new)
            return kept
        except OSError:  # it has gone, or there are no hard links here
            return None

    def _prune(self) -> None:
        best = best_step(self.folder)
        for step in steps_in(self.folder)[: -self.keep]:
            if step != best:
                _discard(self.folder / f"{step:09d}")


class _Contents:
    """What goes into the files of a checkpoint, by name."""

    def __init__(self, policy: Arrays, tree: Any, arrays: Arrays, pieces: dict[str, Piece]) -> None:
        self.tables = {POLICY: policy, STATE: arrays}
        self.tree, self.pieces = json.dumps(tree).encode(), pieces

    def chunks(self, name: str) -> list[Chunk]:
        if name == STATE_JSON:
            return [self.tree]
        return as_safetensors(self.tables[name] if name in self.tables else self.pieces[name]())

    def bytes_beside(self, known: Container[str], packed: bool = False) -> int:
        """Room it takes, files that need not be written left out; a little more than less.

        Pieces count as they are kept, or as they will be written, which takes as long as a save.
        """
        pieces = [piece for name, piece in self.pieces.items() if name not in known]
        rows = sum(_nbytes(piece() if packed else piece.rows) for piece in pieces)
        return (1 << 16) + 2 * len(self.tree) + rows + sum(map(_nbytes, self.tables.values()))


def _nbytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _require_readable(path: Path, chunks: list[Chunk], size: int) -> None:
    """Whoever reads takes no more than so much: a run is not to find out when it is resumed."""
    limits = {STATE_JSON: MAX_STATE_JSON_BYTES, POLICY: MAX_POLICY_BYTES, MANIFEST: MAX_JSON_BYTES}
    limit = limits.get(path.name, size)
    if path.suffix == ".safetensors" and size <= limit:
        size, limit = header_bytes(chunks), MAX_HEADER_BYTES
    if size > limit:
        raise RunError(
            f"too large to be read again: {size:,} bytes, and {limit:,} are read",
            f"{path.name} of the checkpoint",
            "fewer envs or episodes at a time (env.num_envs, algo.episodes_per_update)",
        )


def _write(path: Path, chunks: list[Chunk]) -> _Kept:
    size = sum(len(chunk) for chunk in chunks)
    _require_readable(path, chunks, size)
    write_new(path, *chunks)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return _Kept(path, FileEntry(digest.hexdigest(), size), _stamp(path))


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _publish(part: Path, target: Path) -> None:
    """Give a finished checkpoint its name; one that has it already is there until that moment."""
    if not target.exists():
        part.rename(target)
        sync_folder(target.parent)
        return
    if swap(part, target):  # a run that was resumed, or ends here, has come to this step again
        sync_folder(target.parent)
        shutil.rmtree(part, ignore_errors=True)
        return
    aside = part.with_suffix(".old")
    target.rename(aside)  # `recover` knows what a process has meant that ends here
    try:
        part.rename(target)
    except OSError:
        aside.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _discard(checkpoint: Path) -> None:
    """Remove a checkpoint; it loses its name first, so that no half of it is ever found."""
    gone = checkpoint.with_name(f".{checkpoint.name}.gone")
    with contextlib.suppress(OSError):  # no reason to stop a run; the next start tries again
        checkpoint.rename(gone)
        shutil.rmtree(gone)


def recover(folder: Path) -> None:
    """Bring a run's `checkpoints` in order after a process that ended in the middle of a save.

    For the one process that trains in the folder, before it reads there.
    """
    for aside in folder.glob(".*.old"):
        target = folder / aside.stem[1:]
        with storing(target):
            shutil.rmtree(aside) if target.exists() else aside.rename(target)
    for left in [*folder.glob(".*.part"), *folder.glob(".*.gone")]:
        with storing(left):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    _recover_best(folder)


def _recover_best(folder: Path) -> None:
    """The newest checkpoint may be the best without best.json saying so yet."""
    steps = steps_in(folder)
    try:
        newest = read_manifest(folder / f"{steps[-1]:09d}")
    except (IndexError, BadInput):  # nothing there, or not whole: for whoever reads it to say
        return
    mean = (newest.eval or {}).get("mean_return")
    try:
        best = json.loads((folder / BEST).read_text())
        is_better = best["step"] < newest.step and best["mean_return"] <= mean
    except (OSError, ValueError, KeyError, TypeError):
        is_better = mean is not None
    if is_better and mean is not None and newest.eval is not None:
        write_json(folder / BEST, {"step": newest.step, **newest.eval})


def set_aside(path: Path) -> Path:
    """Take a broken checkpoint out of the row: it is neither found nor counted any more."""
    for i in range(1_000):
        kept = path.with_name(f"broken_{path.name}" + (f"_{i}" if i else ""))
        if not kept.exists():
            break
    with storing(kept):
        path.rename(kept)
    return kept


@functools.cache
def _version(package: str) -> str:
    with contextlib.suppress(Exception):
        return version(package)
    return "unknown"
