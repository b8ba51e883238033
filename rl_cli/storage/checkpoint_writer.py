"""Write checkpoints atomically, and remove the oldest.

All files are written and synced in a hidden folder, the manifest last; then the folder is renamed.
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
from collections.abc import Callable, Container
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import RunError
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
from rl_cli.storage.manifest import (
    BEST,
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

RECORDED = ("torch", "numpy", "gymnasium", "rl-cli")
"""Packages whose versions the manifest records."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """The part of a manifest that is the same for every checkpoint of a run."""

    seed: int
    algo: AlgoConfig
    env: EnvConfig


class _Kept(NamedTuple):
    """A file of the last checkpoint. `stamp` (inode, size, mtime) changes if it is modified."""

    path: Path
    entry: FileEntry
    stamp: tuple[int, int, int]


class CheckpointStore:
    """The checkpoints of one run.

    Pieces of long tables (`core.state.Blocks`) that have not changed since the last save are not
    written again: the new checkpoint gets a hard link to the file in the last one, so each folder
    is complete by itself. Only files that this object has written are linked.

    Args:
        folder: the run's `checkpoints` folder; created at the first save.
        identity: the fields of the manifest that are the same for all checkpoints.
        keep: how many checkpoints to keep, besides the best one.
        conditions: what else the manifest records under `versions`.

    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        keep: int,
        conditions: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self.folder, self.identity, self.keep = folder, identity, keep
        self.conditions = conditions
        self.last: dict[str, _Kept] = {}

    def save(
        self, step: int, policy: Arrays, state: State, evaluation: dict[str, Any] | None, best: bool
    ) -> Path:
        """Write checkpoint `step`, then remove the oldest beyond `keep`, but never the best.

        Args:
            step: env steps over all envs.
            policy: weights and observation statistics by name.
            state: the state that resuming needs in addition.
            evaluation: seed, greedy and mean return of the evaluation at this step, if any.
            best: whether that evaluation is the best so far.

        Raises:
            StorageError: the new checkpoint could not be written. Nothing of it is left, and the
                older ones are unchanged. (If only the last sync failed, it exists and is intact.)

        """
        target = self.folder / f"{step:09d}"
        part = self.folder / f".{target.name}.part"
        contents = _Contents(policy, *pack(state))
        needs = contents.bytes_to_write(self.last)
        if needs > free_bytes(self.folder):  # compute it exactly, which takes time
            needs = contents.bytes_to_write(self.last, packed=True)
        with storing(target, needs):
            if needs > free_bytes(self.folder):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._make_folder()
            try:
                files = self._write(part, step, contents, evaluation)
                publish(part, target)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        self.last = {n: kept._replace(path=target / n) for n, kept in files.items()}
        if best and evaluation is not None:
            write_json(self.folder / BEST, {"step": step, **evaluation})
        self._prune()
        return target

    def _make_folder(self) -> None:
        """Create `checkpoints`, but not the run's folder if that has been deleted."""
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
            versions=package_versions() | self.conditions(),
            files={name: kept.entry for name, kept in files.items()},
        )
        _write(part / MANIFEST, [encode(manifest)])
        written = [kept.path for kept in files.values() if kept.path.parent == part]
        sync_files([*written, part / MANIFEST])
        sync_folder(part)
        return files

    def _link(self, new: Path) -> _Kept | None:
        """Hard-link a file of the last checkpoint. None: it has to be written."""
        kept = self.last.get(new.name)
        try:
            if kept is None or _stamp(kept.path) != kept.stamp:
                return None
            os.link(kept.path, new)
            return kept
        except OSError:  # it was removed, or the filesystem has no hard links
            return None

    def _prune(self) -> None:
        best = best_step(self.folder)
        for step in steps_in(self.folder)[: -self.keep]:
            if step != best:
                _discard(self.folder / f"{step:09d}")


class _Contents:
    """The contents of a checkpoint's files, by name."""

    def __init__(self, policy: Arrays, tree: Any, arrays: Arrays, pieces: dict[str, Piece]) -> None:
        self.tables = {POLICY: policy, STATE: arrays}
        self.tree, self.pieces = json.dumps(tree).encode(), pieces

    def chunks(self, name: str) -> list[Chunk]:
        if name == STATE_JSON:
            return [self.tree]
        return as_safetensors(self.tables[name] if name in self.tables else self.pieces[name]())

    def bytes_to_write(self, known: Container[str], packed: bool = False) -> int:
        """Upper bound of the bytes on disk, without the files in `known`.

        Pieces count with their size in memory, or packed, which takes as long as a save.
        """
        pieces = [piece for name, piece in self.pieces.items() if name not in known]
        rows = sum(_nbytes(piece() if packed else piece.rows) for piece in pieces)
        return (1 << 16) + 2 * len(self.tree) + rows + sum(map(_nbytes, self.tables.values()))


def _nbytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _require_readable(path: Path, chunks: list[Chunk], size: int) -> None:
    """Raise RunError for a file above the reader's limit, which could never be resumed from."""
    limits = {STATE_JSON: MAX_STATE_JSON_BYTES, POLICY: MAX_POLICY_BYTES, MANIFEST: MAX_JSON_BYTES}
    limit = limits.get(path.name, size)
    if path.suffix == ".safetensors" and size <= limit:
        size, limit = header_bytes(chunks), MAX_HEADER_BYTES
    if size > limit:
        raise RunError(
            f"too large to be read again: {size:,} bytes, the limit is {limit:,}",
            f"{path.name} of the checkpoint",
            "use fewer envs or episodes per update (env.num_envs, algo.episodes_per_update)",
        )


def _write(path: Path, chunks: list[Chunk]) -> _Kept:
    size = sum(len(chunk) for chunk in chunks)
    _require_readable(path, chunks, size)
    write_new(path, chunks)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return _Kept(path, FileEntry(digest.hexdigest(), size), _stamp(path))


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def publish(part: Path, target: Path) -> None:
    """Rename a finished and synced checkpoint to its name, replacing one of the same step."""
    if not target.exists():
        part.rename(target)
        sync_folder(target.parent)
        return
    if swap(part, target):  # a resumed run has reached this step again, or the run ends here
        sync_folder(target.parent)
        shutil.rmtree(part, ignore_errors=True)
        return
    aside = part.with_suffix(".old")
    target.rename(aside)  # `recovery.recover` undoes this if the process ends here
    try:
        part.rename(target)
    except OSError:
        aside.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _discard(checkpoint: Path) -> None:
    """Remove a checkpoint. It is renamed first, so that a half-removed one is never found."""
    gone = checkpoint.with_name(f".{checkpoint.name}.gone")
    with contextlib.suppress(OSError):  # no reason to end a run; `recovery.recover` tries again
        checkpoint.rename(gone)
        shutil.rmtree(gone)


def package_versions() -> dict[str, str]:
    """Versions of the packages in `RECORDED`."""
    return {name: package_version(name) for name in RECORDED}


@functools.cache
def package_version(package: str) -> str:
    """Version of an installed package; "unknown" if it is not installed."""
    with contextlib.suppress(Exception):
        return version(package)
    return "unknown"
