"""Values and names of commands that compose nothing: rl-report and rl-runs."""

from __future__ import annotations

import pytest

from rl_cli.cli import plain_keys
from rl_cli.cli import report as rl_report
from rl_cli.cli import runs as rl_runs
from rl_cli.config.commands import ReportConfig, RunsConfig
from rl_cli.core.errors import BadInput
from tests.report.folders import write_run


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0), ("-1e2", -100.0), ("1.5e2", 150.0), ("1_000", 1000.0), ("0100", 100.0),
        ("-7", -7.0), (".5", 0.5), ("null", None), ("NULL", None),
    ],
)  # fmt: skip
def test_number_is_read_as_rl_train_reads_it(text, value):
    assert plain_keys.parse("rl-report", [f"threshold={text}"], ReportConfig)[1].threshold == value


@pytest.mark.parametrize("text", ["1:30", "0x10", "nan", "inf", "", "true", "[1]", "high"])
def test_text_that_is_no_number_is_refused(text):
    with pytest.raises(BadInput, match="threshold"):
        plain_keys.parse("rl-report", [f"threshold={text}"], ReportConfig)


def test_null_is_the_default_of_every_key():
    words = [f"{key}=null" for key in ("algo", "env", "state", "sort", "last", "min_return", "yes")]
    assert plain_keys.parse("rl-runs", words, RunsConfig)[1] == RunsConfig(*[None] * 8)
    assert plain_keys.parse("rl-runs", ["yes=True"], RunsConfig)[1].yes is True
    assert plain_keys.parse("rl-runs", ["last=1e1"], RunsConfig)[1].last == 10
    with pytest.raises(BadInput, match="last"):
        plain_keys.parse("rl-runs", ["last=1.5"], RunsConfig)


@pytest.mark.parametrize("program", [rl_report, rl_runs])
@pytest.mark.parametrize("empty", ["", " "])
def test_empty_name_does_not_mean_the_current_folder(here, capsys, program, empty):
    run = write_run(here / "a", {100: 1.0})
    words = ["delete", empty, "yes=true"] if program is rl_runs else [empty]
    assert program.run(words) == 2
    text = capsys.readouterr().err
    assert "no folder is named" in text
    assert len(text.splitlines()) == 3
    assert run.exists()


def test_link_to_a_run_is_kept_and_the_reason_is_said(here, capsys):
    run = write_run(here / "runs" / "a", {100: 1.0})
    (here / "link").symlink_to(run)
    assert rl_runs.run(["delete", "link", "yes=true"]) == 1
    text = capsys.readouterr().err
    assert "link" in text
    assert "None" not in text
    assert run.exists()
