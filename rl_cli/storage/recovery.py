"""Repair a run's `checkpoints` folder after a process that ended during a save."""

from __future__ import annotations

import shutil
from pathlib import Path

from rl_cli.core.errors import BadInput
from rl_cli.core.fields import Fields
from rl_cli.storage.atomic_files import storing, write_json
from rl_cli.storage.checkpoint_reader import read_manifest
from rl_cli.storage.manifest import BEST, steps_in
from rl_cli.storage.untrusted import MAX_JSON_BYTES, parse_json, read


def recover(folder: Path) -> None:
    """Finish or undo an interrupted save, and remove leftovers.

    Called by the process that holds the folder's lock, before it reads a checkpoint.

    Raises:
        StorageError: a leftover cannot be removed.

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
    """Update best.json if the process ended between a checkpoint's rename and this update."""
    steps = steps_in(folder)
    try:
        newest = read_manifest(folder / f"{steps[-1]:09d}")
    except (IndexError, BadInput):  # none, or a damaged one, which its reader reports
        return
    mean = (newest.eval or {}).get("mean_return")
    if not isinstance(mean, float):
        return
    try:
        best = Fields(parse_json(read(folder / BEST, MAX_JSON_BYTES)))
        is_better = best.number("step") < newest.step and best.number("mean_return") <= mean
    except (OSError, ValueError):
        is_better = True
    if is_better and newest.eval is not None:
        write_json(folder / BEST, {"step": newest.step, **newest.eval})


def set_aside(path: Path) -> Path:
    """Rename a broken checkpoint so that it is no longer found or counted. -> its new path.

    Raises:
        StorageError: it cannot be renamed.

    """
    for i in range(1_000):
        kept = path.with_name(f"broken_{path.name}" + (f"_{i}" if i else ""))
        if not kept.exists():
            break
    with storing(kept):
        path.rename(kept)
    return kept
