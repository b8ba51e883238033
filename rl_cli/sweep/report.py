"""Report of a sweep: a row per job, and a comparison of the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from rl_cli.core import terminal
from rl_cli.core.errors import BadInput, RunError
from rl_cli.report import report as comparison
from rl_cli.report import table
from rl_cli.sweep import records
from rl_cli.tracking.display import print_table
from rl_cli.tracking.formatting import cell, duration, number


def report(sweep: Path) -> int:
    """Print the tables. -> exit code: 0 if all jobs succeeded, their common exit code, or 1."""
    read = {path: records.load(path) for path in records.paths(sweep)}
    for path in [path for path, record in read.items() if not record]:
        terminal.say(f"not a record of a job, left out: {path}")
    jobs = [record | {"job": records.number_of(p)} for p, record in read.items() if record]
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:  # overrides common to all jobs are printed once
        job["overrides"] = [o for o in job["overrides"] if o not in shared] or ["(as given)"]
    if shared:
        terminal.say(f"all jobs: {' '.join(sorted(shared))}")
    print_table(_jobs_table(jobs))
    _compare(sweep)
    terminal.say(f"jobs: {sweep}")
    failures = {job["exit_code"] for job in jobs} - {0}
    return 0 if not failures else failures.pop() if len(failures) == 1 else 1


def _jobs_table(jobs: list[dict[str, Any]]) -> Table:
    jobs_table = Table(title="jobs", title_justify="left")
    for column in ("job", "settings", "eval return", "time", "ended", "folder"):
        jobs_table.add_column(column, overflow="fold")
    for job in jobs:
        value = "" if job["eval_return"] is None else number(job["eval_return"])
        ended = (
            cell(job["state"])
            if job["exit_code"] == 0
            else f"[red]{cell(job['state'])}[/]: {cell(job['reason'])}"
        )
        jobs_table.add_row(
            str(job["job"]),
            "\n".join(map(cell, job["overrides"])),
            value,
            duration(job["seconds"]),
            ended,
            cell(Path(job["run_dir"]).name),
        )
    return jobs_table


def _compare(sweep: Path) -> None:
    """Print the runs grouped by what differs other than the seed; write report.html and report.csv."""
    try:
        found = comparison.make([sweep])
        table.show(found)
        for path in comparison.write(found, sweep):
            terminal.say(f"{path.suffix[1:] + ':':<6} {path}")
    except BadInput:  # no job got as far as a run folder
        return
    except RunError as error:
        terminal.warn(str(error))
