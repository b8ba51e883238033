"""A report of runs: terminal tables, report.html, report.csv and, with matplotlib, pictures."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_cli.core import terminal
from rl_cli.core.errors import BadInput, first_line, plain
from rl_cli.report import absent, groups, page, pictures, run_data, summary, wording
from rl_cli.report.run_data import RunData
from rl_cli.report.summary import Row
from rl_cli.storage.atomic_files import storing, write_atomic

MAX_NAMED = 5
"""Unreadable folders that are named; more are counted."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Rows of all groups, what was left out, and how to read them."""

    title: str
    rows: Sequence[Row]
    left_out: Sequence[str]


def make(places: Sequence[Path], threshold: float | None = None) -> Report:
    """Read the runs at or below the places and compare them.

    Args:
        places: run folders, folders of them, or folders of sweeps.
        threshold: return that counts as success; None: that of the runs.

    Raises:
        BadInput: a place does not exist, or there is no readable run.

    """
    runs, left_out = _read(places)
    by_run, notes = absent.find(places)
    left_out += notes
    if not runs:
        raise BadInput(
            "there are no runs to report",
            " ".join(map(str, places)),
            left_out[0] if left_out else "name folders that contain runs",
        )
    found = [groups.with_absent(each, by_run) for each in groups.group(runs)]
    rows = summary.summarise(found, threshold)
    title = "Report of " + ", ".join(place.resolve().name for place in places[:3])
    return Report(title, rows, [*wording.counts(rows), *left_out])


def _read(places: Sequence[Path]) -> tuple[list[RunData], list[str]]:
    runs, left_out = list[RunData](), list[str]()
    for folder in run_data.find(places):
        try:
            runs.append(run_data.read_run(folder))
        except BadInput as error:
            left_out.append(f"Left out: {error.where}: {error.what}.")
    if (more := len(left_out) - MAX_NAMED) > 0:
        left_out[MAX_NAMED:] = [f"{more} more folders are left out for such reasons."]
    return runs, left_out


def write(report: Report, folder: Path, drawn: bool | None = None) -> list[Path]:
    """Write report.html, report.csv and a picture per chart. -> the files.

    Args:
        report: what to write.
        folder: into which.
        drawn: whether to draw pictures, which needs matplotlib; None: if it is installed.

    Raises:
        BadInput: `drawn` without matplotlib.
        StorageError: a file cannot be written.

    """
    drawn = pictures.require(drawn)
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    count = sum(len(row.group.runs) for row in report.rows)
    made = f"{now}, {count:,} runs in {len(report.rows)} groups"
    data = page.describe(made, report.rows, [*wording.METHODS, *report.left_out], folder)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    content = {
        "report.html": page.render(report.title, data).encode(),
        "report.csv": _csv(report.rows).encode(),
    }
    for name, text in content.items():
        write_atomic(folder / name, text)
    drawings = _drawings(data) if drawn else {}
    for name, png in drawings.items():
        write_atomic(folder / name, png)
    return [folder / name for name in [*content, *drawings]]


def _drawings(data: Mapping[str, Any]) -> dict[str, bytes]:
    """The pictures; none if matplotlib fails: the other files are written already."""
    try:
        return pictures.draw(data)
    except Exception as error:  # a broken installation, fonts: anything of another package
        terminal.warn(f"no pictures: {type(error).__name__}: {plain(first_line(error))}")
        return {}


COLUMNS = (
    "algo", "env", "settings", "seeds", "runs", "iqm", "iqm_low", "iqm_high", "worst", "best", "threshold",
    "solved", "steps_to_threshold", "seconds_to_threshold", "reached", "improvement", "improvement_low",
    "improvement_high",
)  # fmt: skip


def _csv(rows: Sequence[Row]) -> str:
    """A line per group; an empty field: not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        group, steps, seconds = row.group, row.steps, row.seconds
        settings = " ".join(f"{key}={value}" for key, value in group.settings.items())
        values = [
            group.algo, group.env, settings, row.count, len(group.runs), *row.iqm, row.worst, row.best,
            row.threshold, row.solved, steps and steps.median, seconds and seconds.median,
            steps and steps.reached, *(row.improvement or (None, None, None)),
        ]  # fmt: skip
        writer.writerow([_field(value) for value in values])
    return text.getvalue()


def _field(value: object) -> object:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
