"""Whether two runs have the same bits: their rows, evaluations and weights, as far as both got."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from rl_cli.core.errors import plain
from rl_cli.storage import checkpoint_reader, run_folder
from rl_cli.storage.manifest import steps_in
from rl_cli.storage.provenance_file import Start, read_starts
from rl_cli.tracking import csv_reader
from rl_cli.training.provenance import explanations

CLOCK = "time/"
"""Columns whose names begin so hold times, which no run repeats."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        compared: what was compared, in words.
        difference: the first difference, in words; None: there is none.
        explanations: what may explain it, in words.

    """

    compared: Sequence[str]
    difference: str | None
    explanations: Sequence[str]


def compare(before: Path, now: Path) -> Comparison:
    """Compare a run with one that repeats it. Of checkpoints, the steps that both have kept are compared.

    Raises:
        BadInput: a checkpoint is damaged.
        ValueError, OSError: a table is damaged.

    """
    whole = all(run_folder.read_status(f).get("state") == "completed" for f in (before, now))
    compared, differences = list[str](), list[tuple[int, str]]()
    for name in ("metrics.csv", "eval.csv"):
        count, difference = _compare_rows(before / name, now / name, whole)
        compared.append(f"{count:,} rows of {name}")
        differences += [difference] if difference else []
    steps = sorted(set(steps_in(before / "checkpoints")) & set(steps_in(now / "checkpoints")))
    compared.append(f"the weights of {len(steps)} checkpoint{'' if len(steps) == 1 else 's'}")
    for step in steps:
        if words := _compare_weights(before, now, step):
            differences.append((step, words))
            break
    if not differences:
        return Comparison(compared, None, [])
    return Comparison(compared, min(differences)[1], doubts(before, read_starts(now)))


def doubts(before: Path, now: Sequence[Start]) -> list[str]:
    """Why a run that repeats `before`, and has started as `now`, may have other bits, in words."""
    why = [*_resumed(before), *explanations(read_starts(before), now)]
    return list(dict.fromkeys(why))


def _compare_rows(before: Path, now: Path, whole: bool) -> tuple[int, tuple[int, str] | None]:
    """-> number of equal rows, and step and words of the first that differs.

    `whole`: both runs are complete, so that a missing row is a difference.
    """
    count = 0
    for old, new in zip_longest(_rows(before), _rows(now)):
        if old is None or new is None:
            if not whole:
                break
            side, row = ("now", new) if old is None else ("before", old)
            assert row is not None
            step = int(row[csv_reader.STEP])
            return count, (step, f"{before.name} has a row at step {step:,} {side} only")
        step = int(old[csv_reader.STEP])
        for name in {**old, **new}:
            was, is_now = old.get(name, ""), new.get(name, "")
            if not name.startswith(CLOCK) and was != is_now:
                values = f"{was[:40] or 'nothing'} before, {is_now[:40] or 'nothing'} now"
                return count, (step, plain(f"{before.name}, step {step:,}: {name} {values}"))
        count += 1
    return count, None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from csv_reader.rows(path)
    except FileNotFoundError:
        return


def _compare_weights(before: Path, now: Path, step: int) -> str | None:
    """The first array that differs, in words."""
    arrays = []
    for folder in (before, now):
        checkpoint = checkpoint_reader.find(folder, str(step))
        manifest = checkpoint_reader.read_manifest(checkpoint)
        arrays.append(checkpoint_reader.read_policy(checkpoint, manifest))
    old, new = arrays
    for name in {**old, **new}:
        a, b = old.get(name), new.get(name)
        if a is None or b is None or a.dtype != b.dtype or a.shape != b.shape:
            return plain(f"checkpoint {step:,}: {name} exists, or has this shape, on one side only")
        if a.tobytes() != b.tobytes():
            largest = float(np.abs(np.subtract(a, b, dtype=np.float64)).max())
            return plain(f"checkpoint {step:,}: {name} differs by up to {largest:.3g}")
    return None


def _resumed(folder: Path) -> list[str]:
    """Resumes of a run that were not exact, or changed its configuration, in words."""
    resumed = run_folder.read_status(folder).get("resumed")
    words = []
    for entry in resumed if isinstance(resumed, list) else []:
        if not isinstance(entry, dict):
            continue
        differs, changed = entry.get("differs"), entry.get("changed")
        words += [f"resumed: {w}" for w in differs or [] if isinstance(w, str)]
        for key, values in changed.items() if isinstance(changed, dict) else ():
            if isinstance(values, list) and len(values) == 2:
                words.append(f"resumed with {key} {values[0]} before, {values[1]} then")
    return [plain(word) for word in words]
