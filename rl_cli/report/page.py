"""The report as one self-contained HTML page: data, styles, scripts and the chart library inside.

The page makes no request; videos and run folders are linked by relative path. Charts: uPlot 1.6.32
(assets/uPlot.LICENSE). Texts of run folders are set as text by the script, never as HTML.
"""

from __future__ import annotations

import html
import json
import math
import os
import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from rl_cli.core.errors import plain
from rl_cli.report import across, curves, groups, run_data, search_sections
from rl_cli.report.comparison import Threshold
from rl_cli.report.groups import Group
from rl_cli.report.run_data import RunData
from rl_cli.report.searches import Search
from rl_cli.report.summary import Row

MAX_SEED_CURVES = 3_000
"""Curves of single runs in one page; with more of them only the curves of groups are drawn."""


def describe(
    made: str,
    rows: Sequence[Row],
    answers: Sequence[str],
    notes: Sequence[str],
    folder: Path,
    searches: Sequence[Search] = (),
) -> dict[str, Any]:
    """The content of the page, as plain values and arrays.

    Args:
        made: when and from what it was made.
        rows: of the groups.
        answers: sentences that say which group is better.
        notes: how to read it, and what was left out.
        folder: in which the page will lie, for relative links.
        searches: whose plots it shows.

    """
    count = sum(len(row.group.runs) for row in rows)
    each = count <= MAX_SEED_CURVES
    if not each:
        notes = [*notes, f"Curves of single runs are drawn for up to {MAX_SEED_CURVES:,} runs."]
    sections = list(dict.fromkeys(row.group.section for row in rows))
    machines = _Machines()
    runs = [_run(run, row.group, folder, each, machines) for row in rows for run in row.group.runs]
    return {
        "made": made,
        "answers": list(answers),
        "envs": [_env([row for row in rows if row.group.section == s], each) for s in sections],
        "across": across.describe([row for row in rows if row.group.role is None]),
        "runs": runs,
        "machines": machines.known,
        "notes": list(notes),
        "search_plots": search_sections.plots(searches),
        "search_tables": search_sections.tables(searches, folder),
    }


class _Machines:
    """Machines and versions of runs, each once."""

    def __init__(self) -> None:
        self.known: list[dict[str, Any]] = []
        self.places: dict[tuple[Any, ...], int] = {}

    def place(self, run: RunData) -> int | None:
        """Index in `known`; None: not recorded."""
        if not run.machine and not run.versions:
            return None
        key = (run.machine, *run.versions.items())
        if key not in self.places:
            self.places[key] = len(self.known)
            self.known.append({"machine": run.machine, "versions": dict(run.versions)})
        return self.places[key]


def render(title: str, data: Mapping[str, Any]) -> str:
    """The page of what `describe` returns."""
    html_of = {key: data[key] for key in ("search_plots", "search_tables")}
    data = {key: value for key, value in data.items() if key not in html_of}
    assets = files("rl_cli.report") / "assets"
    text = {name: (assets / name).read_text(encoding="utf-8") for name in ASSETS}
    return string.Template(text["page.html"]).substitute(
        title=html.escape(title),
        data=embedded(data),
        **html_of,
        css=text["page.css"] + text["search.css"],
        js=text["charts.js"] + text["page.js"] + text["search.js"],
        uplot_css=text["uPlot.min.css"],
        uplot_js=text["uPlot.iife.min.js"],
        uplot_license=text["uPlot.LICENSE"],
    )


ASSETS = (
    "page.html", "page.css", "search.css", "charts.js", "page.js", "search.js", "uPlot.min.css", "uPlot.iife.min.js", "uPlot.LICENSE",
)  # fmt: skip


def embedded(data: Any) -> str:
    """JSON that can be written inside a script element: no "<" occurs in it, and no NaN."""
    return json.dumps(plain_numbers(data), allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )


def plain_numbers(value: Any) -> Any:
    """Arrays and tuples as lists, numbers with six digits, NaN and infinity as None."""
    match value:
        case dict():
            return {key: plain_numbers(item) for key, item in value.items()}
        case list() | tuple():
            return [plain_numbers(item) for item in value]
        case np.ndarray():
            return [plain_numbers(item) for item in value.tolist()]
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else None
        case _:
            return value


def _env(rows: Sequence[Row], each: bool) -> dict[str, Any]:
    thresholds = {row.threshold for row in rows}
    return {
        "env": rows[0].group.section,
        "name": rows[0].group.env,
        "chosen": rows[0].group.is_chosen_from,
        "threshold": thresholds.pop() if len(thresholds) == 1 else None,
        "groups": [_group(row, each) for row in rows],
    }


def _group(row: Row, each: bool) -> dict[str, Any]:
    curve = curves.align(row.group.runs)
    seeds = zip(row.group.runs, curve.each, strict=True) if each else ()
    return {
        "method": row.group.method,
        "seeds": row.seeds,
        "count": row.count,
        "finals": row.finals,
        "iqm": row.iqm,
        "worst": row.worst,
        "best": row.best,
        "solved": row.solved,
        "steps": _threshold(row.steps),
        "seconds": _threshold(row.seconds),
        "improvement": row.improvement,
        "needed": row.seeds_needed,
        "reached": None if row.reached is None else dict(zip("xy", row.reached, strict=True)),
        "curve": {
            "x": curve.steps,
            "y": curve.value,
            "low": curve.low,
            "high": curve.high,
            "runs": curve.seeds,
            "each": [{"name": f"seed {run.seed}", "y": values} for run, values in seeds],
        },
    }


def _threshold(found: Threshold | None) -> dict[str, Any] | None:
    return None if found is None else found._asdict()


def _run(
    run: RunData, group: Group, folder: Path, each: bool, machines: _Machines
) -> dict[str, Any]:
    videos = sorted((run.folder / "videos").glob("step_*.mp4"))
    shown = {
        "folder": plain(run.folder.name or run.folder.resolve().name),
        "href": _link(run.folder, folder) + "/",
        "env": run.env,
        "method": group.method,
        "seed": run.seed,
        "state": run.state,
        "reason": run.reason,
        "final": run.final,
        "best": run.best,
        "step": run.step,
        "seconds": run.seconds,
        "videos": [_link(video, folder) for video in videos],
        "machine": machines.place(run),
        "differs": groups.difference(run, group.runs[0]),
    }
    if each:
        evaluated = run_data.thinned(np.column_stack([run.steps, run.returns]).astype(float))
        shown["training"], shown["evaluations"] = run.training.T, evaluated.T
    return shown


def _link(path: Path, folder: Path) -> str:
    relative = os.path.relpath(path.resolve(), folder.resolve()).replace(os.sep, "/")
    return quote(os.fsencode(relative))
