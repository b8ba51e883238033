"""Reduce the checkpoints of a completed run to their policies, without the replay buffer."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

from rl_cli.core.errors import BadInput
from rl_cli.storage.atomic_files import storing, sync_files, sync_folder, write_new
from rl_cli.storage.checkpoint_reader import read_manifest
from rl_cli.storage.checkpoint_writer import publish
from rl_cli.storage.manifest import (
    FORMAT,
    MANIFEST,
    POLICY,
    STATE,
    STATE_JSON,
    Manifest,
    encode,
    folders_in,
)


def drop_buffers(folder: Path) -> None:
    """Remove all but the policy from checkpoints that hold a replay buffer; others stay as they are.

    Each checkpoint is replaced atomically, the oldest first. It can then be evaluated, but not resumed.

    Args:
        folder: the run's `checkpoints`.

    Raises:
        StorageError: a checkpoint could not be rewritten; it is unchanged.
        BadInput: a checkpoint is broken.

    """
    for checkpoint in folders_in(folder):
        manifest = read_manifest(checkpoint)
        if set(manifest.files) - {
            POLICY,
            STATE,
            STATE_JSON,
        }:  # pieces of a table: the replay buffer
            _keep_policy(checkpoint, manifest)


def _keep_policy(checkpoint: Path, manifest: Manifest) -> None:
    part = checkpoint.parent / f".{checkpoint.name}.part"
    with storing(checkpoint):
        shutil.rmtree(part, ignore_errors=True)
        try:
            copy_policy(checkpoint, manifest, part)
            publish(part, checkpoint)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def copy_policy(checkpoint: Path, manifest: Manifest, target: Path) -> None:
    """Write a checkpoint without its state, which can be evaluated but not resumed.

    Args:
        checkpoint: the folder to copy from.
        manifest: its manifest.
        target: the folder to create.

    """
    target.mkdir(parents=True)
    shutil.copyfile(checkpoint / POLICY, target / POLICY)
    files = {POLICY: manifest.files[POLICY]}
    kept = dataclasses.replace(manifest, format=FORMAT, files=files)
    write_new(target / MANIFEST, [encode(kept)])
    sync_files([target / POLICY, target / MANIFEST])
    sync_folder(target)


def has_state(folder: Path) -> bool:
    """Whether the newest checkpoint of a run can be resumed from, unless it is broken."""
    with contextlib.suppress(BadInput):  # a broken one is left to its reader
        return all(
            read_manifest(path).has_state for path in folders_in(folder / "checkpoints")[-1:]
        )
    return True


def require_state(folder: Path) -> None:
    """Refuse to resume a run that `drop_buffers` has reduced. Raises BadInput."""
    if not has_state(folder):
        raise BadInput(
            "this run cannot be continued: its replay buffer was dropped when it completed",
            f"{folder / 'config.yaml'}: checkpoint.keep_buffer=false",
            "evaluate it with rl-eval, or start a new run with a larger budget",
        )
