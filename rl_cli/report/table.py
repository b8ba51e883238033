"""The report on a terminal."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from rl_cli.core import terminal
from rl_cli.core.start_folder import relative
from rl_cli.report import search_sections
from rl_cli.report.comparison import MIN_SEEDS, Threshold
from rl_cli.report.report import Report
from rl_cli.report.summary import Row
from rl_cli.report.wording import answer, interval, lost_seeds, repeated_seeds, share
from rl_cli.tracking.console import say_fitted
from rl_cli.tracking.display import print_table
from rl_cli.tracking.formatting import joined, number

LONGEST_NAME = 16
"""Characters of a group's name in the table; longer names are numbered and written below it."""


COLUMNS = ("seeds", "IQM [95% interval]", "worst", "solved", "at step", "P(better)")
INDENT = " " * 4


def show(report: Report) -> None:
    """Print a table per env, the answers and the notes on what was left out.

    Of a search, the runs on fresh seeds have a table; those that chose the trials are in the page.
    """
    for section, rows in report.sections.items():
        if not rows[0].group.is_chosen_from:
            _show_rows(section, rows, COLUMNS, [_values(row) for row in rows])
            say_fitted(answer(rows))
    for line in (*map(search_sections.answer, report.searches), *report.left_out):
        say_fitted(line)


def show_files(paths: Sequence[Path]) -> None:
    """Print where the files of a report are; pictures in one line."""
    pictures = [path for path in paths if path.suffix == ".png"]
    for path in paths:
        if path not in pictures:
            terminal.say(f"{path.suffix[1:] + ':':<9} {relative(path)}")
    if pictures:
        where = relative(pictures[0].parent / "report-*.png")
        terminal.say(f"pictures: {where} ({len(pictures)})")


EVALUATED = ("seeds", "IQM [95% interval]", "worst", "best", "success", "P(better)")


def show_evaluations(rows: Sequence[Row], rates: Mapping[Path, float | None]) -> None:
    """Print a table per env of runs that were evaluated together, one row per group.

    Args:
        rows: of groups of runs, whose results are means over the episodes of this evaluation.
        rates: folder in these rows -> share of its episodes that are a success; None: no threshold.

    """
    for env in dict.fromkeys(row.group.env for row in rows):
        of_env = [row for row in rows if row.group.env == env]
        values = [
            _evaluated(row, [rates.get(run.folder) for run in row.group.runs]) for row in of_env
        ]
        _show_rows(env, of_env, EVALUATED, values)
    if any(row.count < MIN_SEEDS for row in rows):
        say_fitted(f"Groups of fewer than {MIN_SEEDS} runs have no interval.")
    for line in repeated_seeds(rows):
        say_fitted(line)


def _evaluated(row: Row, rates: Sequence[float | None]) -> tuple[str, ...]:
    known = [rate for rate in rates if rate is not None]
    return (
        str(row.count),
        interval(row.iqm),
        number(row.worst),
        number(row.best),
        f"{sum(known) / len(known):.0%}" if known else "",
        "" if row.improvement is None else share(row.improvement),
    )


def _show_rows(
    env: str, rows: Sequence[Row], columns: Sequence[str], values: Sequence[tuple[str, ...]]
) -> None:
    """A table of one env; long names of groups are numbered and written below it."""
    numbered = max(len(row.group.method) for row in rows) > LONGEST_NAME
    names = [str(i) if numbered else row.group.method for i, row in enumerate(rows, 1)]
    if not print_table(_table(env, columns, names, values)):
        terminal.say(env)
        width = shutil.get_terminal_size().columns - 1
        terminal.say(*narrow_lines(columns, names, values, width))
    for row, name in zip(rows, names, strict=True):
        method = f"  {row.group.method}" if numbered else ""
        missing = f"  {lost_seeds(row)}" if row.lost else ""
        if method or missing:
            say_fitted(f" {name}{method}{missing}")


def _table(
    env: str, columns: Sequence[str], names: Sequence[str], values: Sequence[tuple[str, ...]]
) -> Table:
    table = Table(
        title=escape(env), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("group", no_wrap=True)
    for column in columns:
        table.add_column(escape(column), justify="right", no_wrap=True)
    for name, words in zip(names, values, strict=True):
        table.add_row(*map(escape, (name, *words)))
    return table


def narrow_lines(
    columns: Sequence[str],
    names: Sequence[str],
    values: Sequence[tuple[str, ...]],
    width: int,
) -> list[str]:
    """The table for a terminal that is narrower than it: below each group the values that it has, with names.

    Args:
        columns: their heads.
        names: of the groups in the table.
        values: of the groups, one per column; empty: none.
        width: characters of a line.

    """
    lines = []
    for name, of_group in zip(names, values, strict=True):
        pairs = zip(columns, of_group, strict=True)
        words = [f"{column} {value}" for column, value in pairs if value]
        inside = joined(words, width - len(INDENT)).splitlines()
        lines += [f" {name}", *(INDENT + line for line in inside)]
    return lines


def _values(row: Row) -> tuple[str, ...]:
    """A value per column of `COLUMNS`; empty: none."""
    return (
        f"{row.count} of {row.total}" if row.lost else str(row.count),
        interval(row.iqm) + (" (too few)" if 0 < row.count < MIN_SEEDS else ""),
        number(row.worst) if math.isfinite(row.worst) else "",
        "" if row.solved is None else f"{row.solved}/{row.count}",
        _steps(row.steps),
        "" if row.improvement is None else share(row.improvement),
    )


def _steps(found: Threshold | None) -> str:
    return "" if found is None or not math.isfinite(found.median) else f"{found.median:,.0f}"
