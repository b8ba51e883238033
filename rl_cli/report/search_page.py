"""The page of a search: one self-contained HTML file, made from search.json alone."""

from __future__ import annotations

import html
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from rl_cli.config.schema import as_text
from rl_cli.report import search_plots
from rl_cli.report.comparison import Interval
from rl_cli.report.search_record import MAX_TRIALS, Checked, SearchRecord, Trial, load
from rl_cli.report.wording import interval
from rl_cli.storage.atomic_files import write_atomic
from rl_cli.tracking.formatting import number

PAGE = "search.html"

OBJECTIVES = {
    "final": "return of the last evaluation",
    "best": "return of the best evaluation",
    "auc": "mean return over the budget",
    "steps": "env steps to the threshold; 2 budgets if it was not reached",
}


def write(folder: Path) -> Path:
    """Write search.html into the folder of a search. -> the file.

    Raises:
        BadInput: the folder has no readable search.json.
        StorageError: it cannot be written.

    """
    path = folder / PAGE
    write_atomic(path, page(load(folder), folder).encode())
    return path


def page(record: SearchRecord, folder: Path) -> str:
    """The page. Args: record: of the search; folder: of the page, for links to runs."""
    assets = files("rl_cli.report") / "assets"
    css = "".join(
        (assets / name).read_text(encoding="utf-8") for name in ("page.css", "search.css")
    )
    script = (assets / "search.js").read_text(encoding="utf-8")
    title = html.escape(f"Search of {record.algo} on {record.env}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{css}</style>\n</head>\n<body>\n<main>\n<header><h1>{title}</h1>"
        f'<p id="made">{html.escape(_made(record))}</p></header>\n{sections(record, folder)}\n</main>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


Plot = tuple[bool, str, str, Callable[[SearchRecord], str]]
"""Whether a plot is wanted, its head, a hint, and what draws it."""


def sections(record: SearchRecord, folder: Path) -> str:
    """The content of the page, which another page may contain."""
    parts = [f"<section><p>{html.escape(answer(record))}</p></section>"]
    parts += [
        f'<section><h2>{head}</h2><p class="hint">{html.escape(hint)}.</p>'
        f'<div class="chart wide">{draw(record)}</div></section>'
        for wanted, head, hint, draw in _plots(record)
        if wanted
    ]
    return "\n".join([*parts, _table(record, folder)])


def _plots(record: SearchRecord) -> list[Plot]:
    what = OBJECTIVES[record.objective]
    return [
        (
            bool(record.checked),
            "Fresh seeds",
            f"{what}; line: IQM with its 95 % interval",
            search_plots.fresh,
        ),
        (
            True,
            "History",
            f"Mean over the seeds of each trial: {what}. Dashed: the defaults; small: trials that were "
            "ended early or failed",
            search_plots.history,
        ),
        (
            bool(record.second and record.complete),
            "Pareto front",
            f"{what} against {record.second}; filled: no other trial is better in both",
            search_plots.pareto,
        ),
        (
            bool(record.importances),
            "Importances",
            "Share of each key in what distinguishes the best tenth of the trials (PED-ANOVA)",
            search_plots.importances,
        ),
        (
            len(record.complete) > 1,
            "Parallel coordinates",
            "A line per complete trial; the darker, the better. Dashed: the defaults",
            search_plots.parallel,
        ),
    ]


def answer(record: SearchRecord) -> str:
    """What the search found, in sentences."""
    if not record.complete:
        return "No trial is complete yet."
    best = next((t for t in record.complete if t.trial == record.best), record.complete[0])
    text = f"Trial {best.trial} is the best of {len(record.trials)}: {number(best.values[0])} on the seeds "
    text += "of the search. "
    if not record.checked:
        return text + "It was not run on fresh seeds."
    first = record.checked[0]
    for each in record.checked:
        if each.trial == record.winner:
            text += f"On fresh seeds trial {each.trial} has {_interval(each)}, the defaults {_interval(first)}: "
            text += "it is better. "
            return text + (f"Its values are in {record.preset}." if record.preset else "")
    return text + f"On fresh seeds no trial is better than the defaults, {_interval(first)}."


def _interval(each: Checked) -> str:
    values = [float("nan") if value is None else value for value in each.iqm]
    return interval(Interval(*values)) if len(values) == 3 else "no result"


def _made(record: SearchRecord) -> str:
    seeds = f"seeds {record.seeds[0]} to {record.seeds[-1]}" if record.seeds else "no seeds"
    return (
        f"Study {record.study}, {len(record.trials)} trials of {record.budget:,} steps, {seeds}, "
        f"{record.updated[:16].replace('T', ' ')}"
    )


def _table(record: SearchRecord, folder: Path) -> str:
    keys = list(record.space)
    shown = record.trials[-MAX_TRIALS:]
    order = sorted(shown, key=lambda t: _order(record, t))
    heads = ["trial", "state", "objective", *([record.second] if record.second else [])]
    heads += ["runs", *(key.rpartition(".")[2] for key in keys)]
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    rows = "".join(_row(record, trial, keys, folder) for trial in order)
    more = len(record.trials) - len(shown)
    note = f'<p class="hint">{more} earlier trials are not shown.</p>' if more else ""
    return (
        f'<section><h2>Trials</h2>{note}<div class="wide"><table id="trials"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _order(record: SearchRecord, trial: Trial) -> tuple[bool, float, int]:
    sign = 1.0 if record.minimizes else -1.0
    return not trial.values, sign * trial.values[0] if trial.values else 0.0, trial.trial


def _row(record: SearchRecord, trial: Trial, keys: list[str], folder: Path) -> str:
    name = f"{trial.trial} (defaults)" if trial.trial == 0 else str(trial.trial)
    values = [number(value) for value in trial.values] or [""] * len(record.directions)
    cells = [name, trial.state, *values]
    text = "".join(f"<td>{html.escape(each)}</td>" for each in cells)
    links = " ".join(
        f'<a href="{_link(run.folder, folder)}/" title="{html.escape(run.state)}">{run.seed}</a>'
        for run in trial.runs
    )
    own = "".join(f"<td>{html.escape(as_text(trial.keys.get(key)))}</td>" for key in keys)
    reason = html.escape(trial.reason)
    return f'<tr class="row t{trial.trial}" data-t="{trial.trial}" title="{reason}">{text}<td>{links}</td>{own}</tr>'


def _link(run: str, folder: Path) -> str:
    place = os.path.relpath(Path(run).resolve(), folder.resolve())
    return html.escape(quote(place.replace(os.sep, "/")))
