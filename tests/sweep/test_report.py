"""Report of a sweep: lines of any width; no control sequences or markup of records on the terminal."""

from __future__ import annotations

import json

import pytest

from rl_cli.sweep.report import job_lines, report

ODD = "\x1b[2J\x1b]0;title\x07[bold]x[/] \u202e\rend"


def test_texts_of_records_are_escaped(tmp_path, capsys):
    for number in (0, 1):
        record = {
            "overrides": [f"env.kwargs.text={ODD}", f"seed={number}"],
            "run_dir": f"runs/{ODD}",
        }
        record |= {"eval_return": 1.0, "seconds": 2.0, "exit_code": 1, "state": "failed"}
        (tmp_path / f"job_000{number}.json").write_text(json.dumps(record | {"reason": ODD}))
    (tmp_path / "job_0002.json").write_text(
        json.dumps(
            record | {"overrides": [ODD], "eval_return": None, "state": "fa\x1biled", "reason": ODD}
        )
    )
    assert report(tmp_path) == 1
    out = capsys.readouterr().out
    assert not [c for c in out.replace("\n", "") if not c.isprintable()]
    assert "bold]" in out  # text, not markup


def job(number, overrides, code=0, reason="budget"):
    run = {"run_dir": f"runs/ppo/cartpole/20261126-141158_s{number}_4a3f", "overrides": overrides}
    ended = {"exit_code": code, "state": "failed" if code else "completed", "reason": reason}
    return {"job": number, "eval_return": None if code else 66.9, "seconds": 3.0, **run, **ended}


def test_settings_are_on_the_line_of_the_job_if_they_fit():
    lines = job_lines([job(0, ["seed=0"]), job(1, ["seed=1"], 1, "ValueError: no")], 80)
    assert lines == [
        "job  return  time  ended      run                      settings",
        "  0    66.9  0:03  completed  20261126-141158_s0_4a3f  seed=0",
        "  1          0:03  failed     20261126-141158_s1_4a3f  seed=1",
        "      ValueError: no",
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_setting_is_broken_and_no_line_is_longer_than_the_terminal(width):
    settings = ["algo.learning_rate=0.0003", "algo.hidden_sizes=[256,256]", "env.num_envs=16"]
    lines = job_lines([job(0, settings), job(1, [*settings, "seed=1"])], width)
    assert max(map(len, lines)) <= width
    for setting in settings:
        assert sum(setting in line for line in lines) == 2
