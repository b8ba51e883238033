"""Report of a sweep: a row per job, and statistics over jobs that differ only in the seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from rl_cli.core import terminal
from rl_cli.tracking.display import print_table
from rl_cli.tracking.formatting import cell, duration, number
from rl_cli.tracking.statistics import iqm, iqm_interval


def report(sweep: Path) -> int:
    """Print the tables. -> exit code: 0 if all jobs succeeded, their common exit code, or 1."""
    jobs = [
        json.loads(path.read_text()) | {"job": int(path.stem.removeprefix("job_"))}
        for path in sorted(sweep.glob("job_*.json"))
    ]
    shared = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    for job in jobs:  # overrides common to all jobs are printed once
        job["overrides"] = [o for o in job["overrides"] if o not in shared] or ["(as given)"]
    if shared:
        terminal.say(f"all jobs: {' '.join(sorted(shared))}")
    print_table(_jobs_table(jobs))
    if groups := _groups(jobs):
        print_table(_groups_table(groups))
    terminal.say(f"jobs: {sweep}")
    failures = {job["exit_code"] for job in jobs} - {0}
    return 0 if not failures else failures.pop() if len(failures) == 1 else 1


def _jobs_table(jobs: list[dict[str, Any]]) -> Table:
    table = Table(title="jobs", title_justify="left")
    for column in ("job", "settings", "eval return", "time", "ended", "folder"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        value = "" if job["eval_return"] is None else number(job["eval_return"])
        ended = (
            job["state"]
            if job["exit_code"] == 0
            else f"[red]{cell(job['state'])}[/]: {cell(job['reason'])}"
        )
        table.add_row(
            str(job["job"]),
            "\n".join(map(cell, job["overrides"])),
            value,
            duration(job["seconds"]),
            ended,
            cell(Path(job["run_dir"]).name),
        )
    return table


def _groups(jobs: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Final evaluation returns by settings without the seed; groups of at least two jobs."""
    groups: dict[str, list[float]] = {}
    for job in jobs:
        if job["eval_return"] is not None:
            settings = [o for o in job["overrides"] if not o.startswith(("seed=", "run_dir="))]
            groups.setdefault("\n".join(settings) or "all jobs", []).append(job["eval_return"])
    return {name: values for name, values in groups.items() if len(values) > 1}


def _groups_table(groups: dict[str, list[float]]) -> Table:
    table = Table(title="over seeds", title_justify="left")
    for column in ("settings", "seeds", "mean", "IQM", "95% interval of the IQM", "min", "max"):
        left = column == "settings"
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for name, values in groups.items():
        returns = np.array(values)
        low, high = iqm_interval(returns)
        table.add_row(
            "\n".join(map(cell, name.split("\n"))),
            str(len(values)),
            number(float(returns.mean())),
            number(float(iqm(returns))),
            f"{number(low)} to {number(high)}",
            number(float(returns.min())),
            number(float(returns.max())),
        )
    return table
