"""The monitors that print lines: the text of rows and evaluations, and how many are printed; and the
choice of a monitor."""

from __future__ import annotations

import io
import os
import sys

import pytest

from rl_cli.tracking.console import PlainMonitor, QuietMonitor, fitted
from rl_cli.tracking.display import make_monitor
from rl_cli.tracking.live import LiveMonitor
from tests.tracking.reports import FACTS, ROW, SUMMARY


def test_plain_monitor_prints_title_and_facts_first(capsys):
    PlainMonitor().start("dqn · cartpole", FACTS, 0, 1_000)
    assert capsys.readouterr().out == "dqn · cartpole\n  folder: runs/dqn/cartpole/x\n"


def test_plain_monitor_prints_one_line_per_report(capsys, clock):
    monitor = PlainMonitor()
    monitor.start("t", {}, 0, 50_000)
    capsys.readouterr()
    monitor.row(1_500, ROW)
    assert capsys.readouterr().out == (
        "step 1,500/50,000  return 87.7  max 120.2  success 12%  9,876 steps/s  loss 0.123\n"
    )
    monitor.evaluation(5_000, SUMMARY, "")
    monitor.evaluation(10_000, SUMMARY, "best")
    monitor.evaluation(15_000, SUMMARY, "tied for best")
    described = "eval return 201.2 ± 11.5 (17 episodes), success 64%"
    assert capsys.readouterr().out == (
        f"step 5,000/50,000  {described}\nstep 10,000/50,000  {described}  (best)\n"
        f"step 15,000/50,000  {described}  (tied for best)\n"
    )
    monitor.note("no videos")
    assert capsys.readouterr().out == "no videos\n"


def test_plain_monitor_prints_episodes_if_they_are_the_budget_and_always_the_last_row(
    capsys, clock
):
    monitor = PlainMonitor()
    monitor.start("t", {}, 0, 50_000, (0, 1_234))
    capsys.readouterr()
    monitor.row(1_400, ROW | {"rollout/episodes": 1_200})
    monitor.row(1_450, ROW | {"rollout/episodes": 1_220})  # too soon
    monitor.row(1_500, ROW)
    monitor.evaluation(1_500, SUMMARY, "best")
    numbers = "return 87.7  max 120.2  success 12%  9,876 steps/s  loss 0.123"
    assert capsys.readouterr().out.splitlines() == [
        f"step 1,400  episode 1,200/1,234  {numbers}",
        f"step 1,500  episode 1,234/1,234  {numbers}",
        "step 1,500  eval return 201.2 ± 11.5 (17 episodes), success 64%  (best)",
    ]


def test_plain_monitor_omits_missing_metrics(capsys, clock):
    monitor = PlainMonitor()
    monitor.row(100, {"rollout/episodes": 0, "time/steps_per_second": 10.0})
    assert capsys.readouterr().out == "step 100/1  10 steps/s\n"


def steps_of(lines):
    return [int(line.split()[1].split("/")[0].replace(",", "")) for line in lines]


def test_plain_monitor_skips_rows_within_two_seconds_except_the_last(capsys, clock):
    monitor = PlainMonitor()
    monitor.start("t", {}, 0, 1_000)
    capsys.readouterr()
    for step in range(100, 1_001, 100):  # every 0.5 s: each fourth row, and the last
        monitor.row(step, ROW)
        clock.seconds += 0.5
    assert steps_of(capsys.readouterr().out.splitlines()) == [100, 500, 900, 1_000]


def test_rows_and_evaluations_thin_out_as_time_doubles_and_then_by_progress(capsys, clock):
    """A row every second, an evaluation every 10 s, for 2,000 s."""
    monitor = PlainMonitor()
    monitor.start("t", {}, 0, 2_000)
    capsys.readouterr()
    for step in range(1, 2_001):
        clock.seconds += 1
        monitor.row(step, ROW)
        if step % 10 == 0:
            monitor.evaluation(step, SUMMARY, "")
    lines = capsys.readouterr().out.splitlines()
    rows = steps_of(line for line in lines if "eval" not in line)
    evaluations = steps_of(line for line in lines if "eval" in line)
    # more than doubled, then 200 steps further
    assert rows == [1, 3, 7, 15, 31, 63, 127, 255, 455, *range(655, 2_000, 200), 2_000]
    assert evaluations == [10, 30, 70, 150, 310, *range(510, 2_000, 200), 2_000]


@pytest.mark.parametrize("hours", [0.001, 0.1, 1, 24, 24 * 7])
def test_number_of_lines_is_bounded_at_any_length(capsys, clock, hours):
    monitor = PlainMonitor()
    monitor.start("t", {}, 0, 1_000)
    for step in range(1, 1_001):
        clock.seconds += hours * 3.6
        monitor.row(step, ROW)
        monitor.evaluation(step, SUMMARY._replace(mean=float(step)), "best")
    assert len(capsys.readouterr().out.splitlines()) <= 50


def test_best_evaluation_that_was_not_printed_is_printed_with_the_next_one(capsys, clock):
    monitor = PlainMonitor()
    monitor.start("t", {}, 0, 1_000)
    for step, mean, rank in (
        (100, 1.0, "best"),
        (110, 7.0, "best"),
        (120, 3.0, ""),
        (200, 5.0, ""),
    ):
        monitor.evaluation(step, SUMMARY._replace(mean=mean), rank)
    monitor.evaluation(300, SUMMARY._replace(mean=9.0), "best")
    monitor.evaluation(400, SUMMARY._replace(mean=8.0), "")
    ends = [line.split("64%")[1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert ends == ["  (best)", "  (best 7.000 at step 110)", "  (best)", ""]


def test_values_are_not_broken_where_each_fits_a_line(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    values = ["step 40,000/100,000", "eval return 500.0 ± 0 (20 episodes)", "(tied for best)"]
    monkeypatch.setenv("COLUMNS", "60")
    assert fitted("  ".join(values)).splitlines() == ["  ".join(values[:2]), f"    {values[2]}"]
    monkeypatch.setenv("COLUMNS", "40")
    assert fitted("  ".join(values)).splitlines() == [
        values[0],
        *(f"    {value}" for value in values[1:]),
    ]
    text = "final:   eval return 500.0 ± 0 (20 episodes)"  # a label and its text: no list
    assert fitted(text).splitlines() == ["final:   eval return 500.0 ± 0 (20", "    episodes)"]
    text = "  versions       Python 3.11.7, torch 2.13.0"  # a column, and its text from another on
    assert fitted(text, indent=17).splitlines() == [text[:37], " " * 17 + "2.13.0"]


def test_lines_on_a_terminal_are_broken_between_words(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    line = "step 1,500/50,000  return 87.7  max 120.2  success 12%  9,876 steps/s  loss 0.123"
    for columns in (40, 60, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = fitted(line).splitlines()
        assert all(len(text) < columns for text in lines)
        assert " ".join(lines).split() == line.split()
    monkeypatch.setenv("COLUMNS", "200")
    assert fitted(line) == line
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    assert fitted(line) == line


def test_row_with_always_print_is_not_skipped(capsys, clock):
    plain = PlainMonitor()
    plain.start("t", {}, 0, 1_000, (0, 2_000))
    capsys.readouterr()
    for step in (100, 200, 300):
        plain.row(step, ROW, always_print=step < 300)
    rest = "episode 1,234/2,000  return 87.7  max 120.2  success 12%  9,876 steps/s  loss 0.123"
    assert capsys.readouterr().out.splitlines() == [f"step 100  {rest}", f"step 200  {rest}"]


def test_quiet_monitor_prints_only_notes_on_stderr(capsys):
    monitor = QuietMonitor()
    monitor.start("title", FACTS, 0, 1_000)
    monitor.row(1_000, ROW)
    monitor.evaluation(1_000, SUMMARY, "best")
    monitor.note("no videos: [red]x[/red]")
    monitor.close()
    assert capsys.readouterr() == ("", "no videos: [red]x[/red]\n")


HERE = {"TERM": "xterm-256color"}


@pytest.mark.parametrize(
    ("display", "terminal", "environ", "expected"),
    [
        ("none", True, HERE, QuietMonitor),
        ("none", False, HERE, QuietMonitor),
        ("plain", True, HERE, PlainMonitor),
        ("live", False, {"CI": "true", "TERM": "dumb"}, LiveMonitor),
        ("auto", True, HERE, LiveMonitor),
        ("auto", True, HERE | {"CI": "false", "NO_COLOR": ""}, LiveMonitor),
        ("auto", False, HERE | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}, PlainMonitor),
        ("auto", True, {"TERM": "dumb"}, PlainMonitor),
        ("auto", True, HERE | {"NO_COLOR": "1"}, PlainMonitor),
        ("auto", True, HERE | {"CI": "true"}, PlainMonitor),
        ("auto", True, HERE | {"CI": "1"}, PlainMonitor),
        ("auto", True, HERE | {"JPY_PARENT_PID": "41"}, PlainMonitor),
        ("auto", True, HERE | {"COLAB_RELEASE_TAG": "release-colab"}, PlainMonitor),
        ("auto", True, HERE | {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}, PlainMonitor),
    ],
)
def test_monitor_is_chosen_by_key_terminal_and_environment(
    monkeypatch, display, terminal, environ, expected
):
    monkeypatch.setattr(os, "environ", environ)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    assert type(make_monitor(display)) is expected


def test_without_stdout_lines_are_chosen(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert type(make_monitor("auto")) is PlainMonitor
