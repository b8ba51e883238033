"""The live table of a sweep: what it shows of each job, at widths from 60 columns."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from rl_cli.config.labels import Labels
from rl_cli.sweep.job import Job, JobState
from rl_cli.sweep.live import ECHO, LiveView, fitted_widths
from rl_cli.sweep.progress import Progress, read

ENVS = ("cartpole", "lunarlander_continuous")


def state(number, kind, step=0, value=None):
    own = [f"env={ENVS[number % 2]}", f"seed={number}", f"algo.learning_rate=0.000{number}"]
    job = Job(number, SimpleNamespace(total_timesteps=1000), {}, Labels("ppo", "x"), own, own)
    attempts = 0 if kind == "waiting" else 1
    began = time.monotonic() - 10 - number
    return JobState(
        job, Path(), {"reason": "no"}, kind, "", attempts, began, step=step, eval_return=value
    )


def shown(width, states, height=24):
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True)
    view = LiveView(console)
    for each in states:
        view.add(each)
    view.close()
    with console.capture() as text:
        console.print(view)
    return re.sub(r"\x1b\[[0-9;]*m", "", text.get()).splitlines()


def rows_of(lines):
    """Words of each row, by the number of the job."""
    found = [line.split() for line in lines if re.match(r" *\d+ ", line) and "jobs" not in line]
    return {int(words[0]): words for words in found}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_job_is_a_line_that_fits(width):
    states = [
        *(state(0, "completed", 1000, 475.25), state(1, "running", 500, -20.5)),
        *(state(2, "failed", 100), state(3, "waiting"), state(4, "running")),
    ]
    lines = shown(width, states)
    assert max(len(line.rstrip()) for line in lines) <= width - ECHO
    rows = rows_of(lines)
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert "cartpole" in rows[0]
    assert "done" in rows[0]
    assert "475.2" in rows[0]
    assert "50%" in rows[1]
    assert "-20.5" in rows[1]
    assert "0.0001" in rows[1]
    assert "failed" in rows[2]
    assert rows[3][-1] == "waiting"
    assert "0%" in rows[4]
    if width > 60:  # half of the steps in 11 s
        assert rows[1][-1] == "0:11"
    head = lines[0]
    assert all(part in head for part in ("1 done", "2 running", "1 waiting", "1 failed"))


def test_running_and_failed_jobs_are_shown_where_not_all_fit():
    states = [state(n, "completed", 1000, 1.0) for n in range(50)]
    states += [state(50, "running", 10), state(51, "failed", 5)]
    states += [state(n, "waiting") for n in range(52, 200)]
    lines = shown(80, states, height=20)
    assert len(lines) < 20
    assert {50, 51, 52} <= set(rows_of(lines))
    assert lines[-1].strip() == f"{200 - 14} more jobs"


def test_names_of_columns_are_shortened_before_values():
    assert fitted_widths(["seed", "learning_rate"], [1, 6], 40) == [4, 13]
    assert fitted_widths(["seed", "learning_rate"], [1, 6], 11) == [4, 7]
    assert fitted_widths(["env", "learning_rate"], [22, 6], 20) == [14, 6]


def test_progress_is_read_from_the_last_complete_rows(tmp_path):
    assert read(tmp_path / "none") == Progress(0, None)
    (tmp_path / "metrics.csv").write_text("step,loss\n100,1.0\n200,0.5\n30")
    (tmp_path / "eval.csv").write_text(
        "step,episode,episode_return\n100,0,1.0\n200,0,4.0\n200,1,6.0\n200,2,nan\n300,0"
    )
    assert read(tmp_path) == Progress(200, 5.0)
    (tmp_path / "metrics.csv").write_text("step,loss\n" + "7,1.0\n" * 20_000 + "8,1.0\n")
    assert read(tmp_path).step == 8
    (tmp_path / "metrics.csv").write_bytes(b"\xff\x00,\n\n\n1,2,3\n")
    assert read(tmp_path).step == 0
