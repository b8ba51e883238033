"""What a report shows of a search besides its runs: plots and the table of trials, as HTML."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from rl_cli.config.schema import as_text
from rl_cli.report import search_plots
from rl_cli.report.comparison import Interval
from rl_cli.report.search_record import MAX_TRIALS, Checked, SearchRecord, Trial
from rl_cli.report.searches import Search
from rl_cli.report.wording import interval
from rl_cli.tracking.formatting import number


class Plot(NamedTuple):
    """A plot of a search.

    `name`: in `DRAWN`, and in the names of pictures; `hint`: a caption, without its point.
    """

    name: str
    head: str
    hint: str


DRAWN: dict[str, Callable[[SearchRecord], str]] = {
    "fresh": search_plots.fresh,
    "history": search_plots.history,
    "pareto": search_plots.pareto,
    "importances": search_plots.importances,
    "parallel": search_plots.parallel,
}
"""Plot -> what draws it as SVG; `search_pictures` draws the same as PNG."""


def plots(searches: Sequence[Search]) -> str:
    """The plots of each search, as HTML."""
    return "\n".join(_search(i, each.record) for i, each in enumerate(searches))


def _search(index: int, record: SearchRecord) -> str:
    parts = [
        f'<h3>{plot.head}</h3><p class="caption">{html.escape(plot.hint)}.</p>'
        f'<div class="chart wide">{DRAWN[plot.name](record)}</div>'
        for plot in plots_of(record)
    ]
    return (
        f'<section data-search="{index}"><h2>{html.escape(title(record))}</h2>'
        f'<p class="soft">{html.escape(_made(record))}</p>{"".join(parts)}</section>'
    )


def title(record: SearchRecord) -> str:
    """Head of the plots of a search."""
    return f"Search of {record.algo} on {record.env}"


def tables(searches: Sequence[Search], folder: Path) -> str:
    """The trials of each search as tables, as HTML. Args: folder: of the page, for links to runs."""
    return "\n".join(_table(i, each, folder) for i, each in enumerate(searches))


def plots_of(record: SearchRecord) -> list[Plot]:
    """The plots for which a search has results."""
    wanted = {
        "fresh": bool(record.checked),
        "history": True,
        "pareto": bool(record.second and record.complete),
        "importances": bool(record.importances),
        "parallel": len(record.complete) > 1,
    }
    return [plot for plot in _every(record) if wanted[plot.name]]


def _every(record: SearchRecord) -> list[Plot]:
    what = search_plots.OBJECTIVES[record.objective]
    late = "; 2 budgets for a run that never reached it" if record.objective == "steps" else ""
    return [
        Plot(
            "fresh",
            "On fresh seeds",
            f"{_upper(what)} of each run on seeds that chose nothing; line: IQM with its 95 % bootstrap interval",
        ),
        Plot(
            "history",
            "History",
            f"{_upper(what)}{late}, mean over the seeds of each trial. Line: the best so far. Blue, dashed: the "
            "defaults; orange: the best trial; rings at the bottom: trials that were ended early or failed",
        ),
        Plot(
            "pareto",
            "Pareto front",
            f"{_upper(what)} and {search_plots.SECOND.get(record.second or '', '')}, means over the seeds; filled: "
            "no other trial is better in both",
        ),
        Plot(
            "importances",
            "Importances",
            "Share of each key in what distinguishes the best tenth of the trials from the others (PED-ANOVA)",
        ),
        Plot(
            "parallel",
            "Parallel coordinates",
            "A line per complete trial, from its values to its objective on the right; the darker, the better. Blue, "
            "dashed: the defaults; orange: the best trial",
        ),
    ]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def answer(search: Search) -> str:
    """The results of the search, in sentences."""
    record = search.record
    if not record.complete:
        return f"{record.study}: no trial is complete yet."
    best = next((t for t in record.complete if t.trial == record.best), record.complete[0])
    name = "the defaults are" if best.trial == 0 else f"trial {best.trial} is"
    text = f"{record.study}: {name} the best of {len(record.trials)} trials: {number(best.values[0])}, "
    text += f"{search_plots.OBJECTIVES[record.objective]}, on the seeds of the search. "
    if not record.checked:
        return text + "No trial was run on fresh seeds."
    first = record.checked[0]
    for each in record.checked:
        if each.trial == record.winner:
            text += f"On fresh seeds trial {each.trial} has {_interval(each)}, the defaults {_interval(first)}: "
            text += "it is better. "
            return text + (f"Its values are in {record.preset}." if record.preset else "")
    if all(_is_unsure(each) for each in record.checked[1:]):
        return (
            text
            + f"The runs on fresh seeds, {len(record.fresh_seeds)} of each, are too few to tell."
        )
    return text + f"On fresh seeds no trial is better than the defaults, {_interval(first)}."


def _is_unsure(each: Checked) -> bool:
    """Whether there were too few runs for an interval of the gain."""
    return each.gain is not None and len(each.gain) == 3 and each.gain[1] is None


def _interval(each: Checked) -> str:
    values = [float("nan") if value is None else value for value in each.iqm]
    return interval(Interval(*values)) if len(values) == 3 else "no result"


def _made(record: SearchRecord) -> str:
    seeds = f"seeds {record.seeds[0]} to {record.seeds[-1]}" if record.seeds else "no seeds"
    return (
        f"Study {record.study}, {len(record.trials)} trials of {record.budget:,} steps, {seeds}, "
        f"{record.updated[:16].replace('T', ' ')}"
    )


def _table(index: int, search: Search, folder: Path) -> str:
    record = search.record
    keys = list(record.space)
    shown = record.trials[-MAX_TRIALS:]
    heads = ["trial", "state", "objective", *([record.second] if record.second else [])]
    heads += ["runs", *(key.rpartition(".")[2] for key in keys)]
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    rows = "".join(_row(search, trial, keys, folder) for trial in sorted(shown, key=record.rank))
    more = len(record.trials) - len(shown)
    note = f'<p class="hint">{more} earlier trials are not shown.</p>' if more else ""
    return (
        f'<section data-search="{index}"><h2>Trials of {html.escape(record.study)}</h2>{note}<div class="wide">'
        f'<table class="trials"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
    )


def _row(search: Search, trial: Trial, keys: list[str], folder: Path) -> str:
    name = f"{trial.trial} (defaults)" if trial.trial == 0 else str(trial.trial)
    values = [number(value) for value in trial.values] or [""] * len(search.record.directions)
    cells = [name, trial.state, *values]
    text = "".join(f"<td>{html.escape(each)}</td>" for each in cells)
    links = " ".join(
        f'<a href="{_link(search, run.folder, folder)}/" title="{html.escape(run.state)}">{run.seed}</a>'
        for run in trial.runs
    )
    own = "".join(f"<td>{html.escape(as_text(trial.keys.get(key)))}</td>" for key in keys)
    reason = html.escape(trial.reason)
    return f'<tr class="row t{trial.trial}" title="{reason}">{text}<td>{links}</td>{own}</tr>'


def _link(search: Search, run: str, folder: Path) -> str:
    """To a run, which lies in the folder of its search, wherever that was moved."""
    place = os.path.relpath((search.folder / "runs" / Path(run).name).resolve(), folder.resolve())
    return html.escape(quote(place.replace(os.sep, "/")))
