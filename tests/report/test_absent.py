"""Seeds of a sweep without a result are named; runs are found from whichever folder the report is made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl_cli.report import report, run_data, table, wording
from tests.report.folders import write_run

FORGED = [None, 3, "", "a\0b", "x" * 5000, "../" * 2000, ["a"], "\ud800"]


def write_record(sweep, number, run_dir, state="completed", words=("algo=dqn",), **more):
    sweep.mkdir(parents=True, exist_ok=True)
    record = {
        "overrides": [*words, f"seed={number}"],
        "labels": ["dqn", "cartpole"],
        "seed": number,
    }
    record |= {"run_dir": run_dir, "state": state, **more}
    (sweep / f"job_{number:04d}.json").write_text(json.dumps(record))


def test_failed_and_missing_seeds_are_named(here, capsys):
    """Of six seeds two have a result, two runs failed, one job has no run, one was not started."""
    sweep = here / "sweep"
    for seed in range(4):
        name = f"runs/dqn/cartpole/r{seed}"
        state = "completed" if seed in (0, 2) else "failed"
        write_run(here / name, {100: 1.0, 300: 10.0 + seed}, seed, state)
        write_record(sweep, seed, name, state)
    write_record(sweep, 4, "", "failed")
    write_record(sweep, 5, "", "waiting")
    made = report.make([sweep])
    (row,) = made.rows
    assert (row.count, row.total) == (2, 6)
    assert row.lost == {"failed": [1, 3, 4], "missing": [5]}
    assert row.seeds == "2 of 6, 3 failed, 1 missing"
    table.show(made)
    out = capsys.readouterr().out
    assert "2 of 6; failed: seeds 1, 3, 4; missing: seed 5" in out
    assert "11.0 (too few)" in out  # no interval, and why


def test_group_without_any_run_is_counted(here):
    sweep = here / "sweep"
    write_run(here / "r", {300: 1.0})
    write_record(sweep, 0, "r")
    for seed in (1, 2, 3):
        write_record(sweep, seed, "", "failed", words=("algo=ppo",))
    made = report.make([sweep])
    assert made.rows[0].lost == {}
    assert "dqn on cartpole: 3 jobs of a sweep have no run." in made.left_out


def test_seed_that_ran_in_another_attempt_is_not_missing(here):
    write_run(here / "r0", {300: 1.0}, 0)
    write_run(here / "r1", {300: 1.0}, 1)
    write_record(here / "a", 0, "r0")
    write_record(here / "a", 1, "", "failed")
    made = report.make([here / "a", here / "r1"])
    assert made.rows[0].seeds == "2"


@pytest.mark.parametrize("where", ["project", "project/runs/sweeps", "elsewhere"])
def test_runs_of_a_sweep_are_found_from_any_folder(here, monkeypatch, where):
    """With a relative and an absolute path, through a link, and after the project was moved."""
    project, sweep = here / "project", here / "project/runs/sweeps/s"
    write_run(project / "runs/dqn/cartpole/r", {300: 1.0})
    write_record(sweep, 0, "runs/dqn/cartpole/r", start="/nowhere")
    far = here / "far"  # hydra.sweep.dir outside of the project
    write_record(far, 0, "runs/dqn/cartpole/r", start=str(project))
    (here / "elsewhere").mkdir()
    (here / "elsewhere/link").symlink_to(sweep)
    monkeypatch.chdir(here / where)
    for place in (sweep, Path(os.path.relpath(sweep)), far, here / "elsewhere/link"):
        assert [p.name for p in run_data.find([place])] == ["r"], place
    os.rename(project, here / "moved")
    assert [p.name for p in run_data.find([here / "moved/runs/sweeps/s"])] == ["r"]


def test_forged_records_are_left_out(here):
    write_run(here / "r", {300: 1.0})
    write_record(here / "s", 0, "r")
    for i, value in enumerate(FORGED, 1):
        for key in ("run_dir", "start", "overrides", "labels", "seed", "state"):
            write_record(
                here / "s", i, "none", **{} if key in ("run_dir", "state") else {key: value}
            )
            record = json.loads((here / f"s/job_{i:04d}.json").read_text())
            (here / f"s/job_{i:04d}.json").write_text(json.dumps({**record, key: value}))
            assert report.make([here / "s"]).rows[0].count == 1


def test_many_seeds_are_counted():
    row = SimpleNamespace(count=1, total=31, lost={"failed": list(range(1, 31))})
    assert wording.lost_seeds(row).endswith("seeds 1, 2, 3, 4, 5, 6, 7, 8 and 22 more")
