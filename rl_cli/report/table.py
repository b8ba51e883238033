"""The report on a terminal."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from rl_cli.core import terminal
from rl_cli.core.start_folder import relative
from rl_cli.report.comparison import Threshold
from rl_cli.report.report import Report
from rl_cli.report.summary import Row
from rl_cli.report.wording import answer, interval, share
from rl_cli.tracking.console import say_fitted
from rl_cli.tracking.display import print_table
from rl_cli.tracking.formatting import joined, number

LONGEST_NAME = 16
"""Characters of a group's name in the table; longer names are numbered and written below it."""


COLUMNS = ("seeds", "IQM [95% interval]", "worst", "solved", "at step", "P(better)")
INDENT = " " * 4


def show(report: Report) -> None:
    """Print a table per env, the answers and the notes on what was left out."""
    for env in dict.fromkeys(row.group.env for row in report.rows):
        rows = [row for row in report.rows if row.group.env == env]
        numbered = max(len(row.group.method) for row in rows) > LONGEST_NAME
        names = [str(i) if numbered else row.group.method for i, row in enumerate(rows, 1)]
        if not print_table(_table(env, rows, names)):
            terminal.say(env)
            terminal.say(*narrow_lines(rows, names, shutil.get_terminal_size().columns - 1))
        for row, name in zip(rows, names, strict=True):
            method = f"  {row.group.method}" if numbered else ""
            missing = f"  ({row.seeds})" if row.count < len(row.group.runs) else ""
            if method or missing:
                say_fitted(f" {name}{method}{missing}")
        say_fitted(answer(rows))
    for note in report.left_out:
        say_fitted(note)


def show_files(paths: Sequence[Path]) -> None:
    """Print where the files of a report are; pictures in one line."""
    pictures = [path for path in paths if path.suffix == ".png"]
    for path in paths:
        if path not in pictures:
            terminal.say(f"{path.suffix[1:] + ':':<9} {relative(path)}")
    if pictures:
        where = relative(pictures[0].parent / "report-*.png")
        terminal.say(f"pictures: {where} ({len(pictures)})")


def _table(env: str, rows: list[Row], names: list[str]) -> Table:
    table = Table(
        title=escape(env), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("group", no_wrap=True)
    for column in COLUMNS:
        table.add_column(escape(column), justify="right", no_wrap=True)
    for row, name in zip(rows, names, strict=True):
        table.add_row(*map(escape, (name, *_values(row))))
    return table


def narrow_lines(rows: Sequence[Row], names: Sequence[str], width: int) -> list[str]:
    """The table for a terminal that is narrower than it: below each group the values that it has, with names.

    Args:
        rows: groups of one env.
        names: their names in the table.
        width: characters of a line.

    """
    lines = []
    for row, name in zip(rows, names, strict=True):
        pairs = zip(COLUMNS, _values(row), strict=True)
        words = [f"{column} {value}" for column, value in pairs if value]
        inside = joined(words, width - len(INDENT)).splitlines()
        lines += [f" {name}", *(INDENT + line for line in inside)]
    return lines


def _values(row: Row) -> tuple[str, ...]:
    """A value per column of `COLUMNS`; empty: none."""
    return (
        str(row.count),
        interval(row.iqm),
        number(row.worst) if math.isfinite(row.worst) else "",
        "" if row.solved is None else f"{row.solved}/{row.count}",
        _steps(row.steps),
        "" if row.improvement is None else share(row.improvement),
    )


def _steps(found: Threshold | None) -> str:
    return "" if found is None or not math.isfinite(found.median) else f"{found.median:,.0f}"
