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
from rl_cli.report import (
    absent,
    groups,
    page,
    pictures,
    run_data,
    search_pictures,
    search_sections,
    searches,
    summary,
    wording,
)
from rl_cli.report.run_data import RunData
from rl_cli.report.searches import Search
from rl_cli.report.summary import Row
from rl_cli.storage.atomic_files import storing, write_atomic

MAX_NAMED = 5
"""Unreadable folders that are named; more are counted."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Rows of all groups, the searches that some runs are of, and what was left out."""

    title: str
    rows: Sequence[Row]
    left_out: Sequence[str]
    searches: Sequence[Search] = ()

    @property
    def sections(self) -> Mapping[str, Sequence[Row]]:
        """Rows that are compared with each other: of an env, or of a part of a search."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.group.section, []).append(row)
        return found

    @property
    def answers(self) -> Sequence[str]:
        """What the searches found, then which group of each section is better."""
        found = [search_sections.answer(each) for each in self.searches]
        compared = [rows for rows in self.sections.values() if not rows[0].group.is_chosen_from]
        return found + [wording.answer(rows) for rows in compared]


def make(places: Sequence[Path], threshold: float | None = None) -> Report:
    """Read the runs at or below the places and compare them.

    Args:
        places: run folders, folders of them, or folders of sweeps or searches.
        threshold: return that counts as success; None: that of the runs.

    Raises:
        BadInput: a place does not exist, or there is no readable run.

    """
    folders = list(run_data.find(places))
    runs, left_out = _read(folders)
    found, unread = searches.find(places, folders)
    by_run, notes = absent.find(places)
    left_out += [*unread, *notes]
    if not runs and not found:
        raise BadInput(
            "there are no runs to report",
            " ".join(map(str, places)),
            left_out[0] if left_out else "name folders that contain runs",
        )
    made = groups.group(runs, searches.roles(found, folders))
    rows = summary.summarize([groups.with_absent(each, by_run) for each in made], threshold)
    return Report(_title(places, found), rows, [*wording.counts(rows), *left_out], found)


def _title(places: Sequence[Path], found: Sequence[Search]) -> str:
    if len(places) == 1 and len(found) == 1 and found[0].folder == places[0]:
        return search_sections.title(found[0].record)
    return "Report of " + ", ".join(plain(place.resolve().name) for place in places[:3])


def _read(folders: Sequence[Path]) -> tuple[list[RunData], list[str]]:
    runs, left_out = list[RunData](), list[str]()
    for folder in folders:
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
    notes = [*wording.METHODS, *report.left_out]
    data = page.describe(made, report.rows, report.answers, notes, folder, report.searches)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    content = {
        "report.html": page.render(report.title, data).encode(),
        "report.csv": _csv(report.rows).encode(),
    }
    for name, text in content.items():
        write_atomic(folder / name, text)
    drawings = _drawings(data, report.searches) if drawn else {}
    for name, png in drawings.items():
        write_atomic(folder / name, png)
    return [folder / name for name in [*content, *drawings]]


def _drawings(data: Mapping[str, Any], found: Sequence[Search]) -> dict[str, bytes]:
    """The pictures; none if matplotlib fails: the other files are written already."""
    try:
        return pictures.draw(data) | search_pictures.draw(found)
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
