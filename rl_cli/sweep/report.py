"""Report of a sweep: a row per job, and a comparison of the runs."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_cli.core import terminal
from rl_cli.core.command_line import override, pasted
from rl_cli.core.errors import BadInput, RunError, plain
from rl_cli.report import report as comparison
from rl_cli.report import table
from rl_cli.sweep import records
from rl_cli.tracking.formatting import duration, joined, number


def report(sweep: Path) -> int:
    """Print the tables. -> exit code: 0 if all jobs succeeded, their common exit code, or 1."""
    read = {path: records.load(path) for path in records.paths(sweep)}
    for path in [path for path, record in read.items() if not record]:
        terminal.say(f"not a record of a job, left out: {path}")
    jobs = [record | {"job": records.number_of(p)} for p, record in read.items() if record]
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:  # what all jobs share was printed when they started
        own = [o.lstrip("+") for o in job["overrides"] if o not in shared]
        job["overrides"] = own or ["(as given)"]
    terminal.say(*job_lines(jobs, shutil.get_terminal_size().columns))
    _compare(sweep)
    terminal.say(f"jobs:  {sweep}")
    failures = {job["exit_code"] for job in jobs} - {0}
    return 0 if not failures else failures.pop() if len(failures) == 1 else 1


def say_stopped(sweep: Path, argv: list[str], left: Sequence[str] = ()) -> None:
    """Say how far a sweep was when a signal stopped it, and the command that resumes it.

    `left`: lines about jobs that continue without this process.
    """
    states = [records.load(path).get("state") for path in records.paths(sweep)]
    terminal.say(f"stopped: {states.count('completed')} of {len(states)} jobs are complete")
    terminal.say(*left)
    words = [word for word in argv if not word.startswith("hydra.sweep.dir=")]
    again = override("hydra.sweep.dir", str(sweep))
    terminal.say(f"resume:  {pasted('rl-train', *words, again)}")


COLUMNS = ("job", "return", "time", "ended", "run", "settings")
INDENT = " " * 6


def job_lines(jobs: list[dict[str, Any]], width: int) -> list[str]:
    """A line per job; settings that do not fit, and the reason of a failure, are on lines of their own.

    Args:
        jobs: records of jobs, `overrides` without those that all jobs share.
        width: of the terminal, in characters.

    """
    rows = [COLUMNS[:-1], *map(_words, jobs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    heads = [
        "  ".join(
            word.ljust(size) if i >= LEFT_FROM else word.rjust(size)
            for i, (word, size) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    settings = [[COLUMNS[-1]], *(job["overrides"] for job in jobs)]
    fits = all(
        len(head) + 2 + len(" ".join(words)) <= width
        for head, words in zip(heads, settings, strict=True)
    )
    lines = []
    for head, words, job in zip(heads, settings, [None, *jobs], strict=True):
        if fits:
            lines.append(f"{head}  {' '.join(words)}")
        else:
            inside = joined(words, width - len(INDENT)).splitlines()
            lines += [head.rstrip(), *(INDENT + line for line in inside)]
        if job is not None and job["exit_code"] != 0:
            inside = textwrap.wrap(plain(str(job["reason"])), max(width - len(INDENT), 20))
            lines += [INDENT + line for line in inside]
    return lines


LEFT_FROM = 3
"""Columns from this one on are aligned to the left."""


def _words(job: dict[str, Any]) -> tuple[str, ...]:
    value = "" if job["eval_return"] is None else number(job["eval_return"])
    run = plain(Path(job["run_dir"]).name)
    return str(job["job"]), value, duration(job["seconds"]), plain(str(job["state"])), run


def _compare(sweep: Path) -> None:
    """Print the runs grouped by what differs other than the seed; write report.html and report.csv."""
    try:
        found = comparison.make([sweep])
        table.show(found)
        table.show_files(comparison.write(found, sweep))
    except BadInput:  # no job got as far as a run folder
        return
    except RunError as error:
        terminal.warn(*str(error).splitlines())
