"""Monitors and formatting: the text of numbers, rows and evaluations, and the rate of lines."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from rl_cli.tracking import console as console_module
from rl_cli.tracking.console import LiveMonitor, PlainMonitor, QuietMonitor, make_monitor
from rl_cli.tracking.formatting import (
    describe,
    duration,
    number,
    relative,
    sparkline,
    summary_table,
)
from rl_cli.tracking.statistics import Summary

SUMMARY = Summary(
    episodes=17,
    mean=201.25,
    std=11.5,
    median=198.75,
    iqm=195.5,
    iqm_low=-190.25,
    iqm_high=205.75,
    min=-12.5,
    max=300.25,
    mean_length=123.4,
    success_rate=0.64,
    success_at=195.0,
)
ROW = {
    "rollout/episodes": 1_234.0,
    "rollout/episode_return": 87.654,
    "rollout/episode_return_max": 120.25,
    "rollout/success_rate": 0.125,
    "rollout/episode_length": 55.0,
    "train/loss": 0.1234,
    "train/q_mean": 45.67,
    "time/steps_per_second": 9_876.5,
}
FACTS = {"folder": "runs/dqn/cartpole/x"}


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=1_000.0)
    monkeypatch.setattr(console_module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([], 8, ""),
        ([5.0], 8, "▁"),
        ([3.0, 3.0, 3.0], 8, "▁▁▁"),
        ([0.0, 1.0], 8, "▁█"),
        ([-7, -6, -5, -4, -3, -2, -1, 0], 8, "▁▂▃▄▅▆▇█"),
        ([8, 1, 8, 1], 4, "█▁█▁"),
        ([0, 2, 7, 9, 14, 16], 3, "▁▄█"),  # means of pairs: 1, 8, 15; 8 has height 3.5 of 7
        ([0, 0, 0, 0, 9], 2, "▁█"),  # means of two values and of three
    ],
)
def test_sparkline(values, width, expected):
    assert sparkline(values, width) == expected


def test_sparkline_of_many_values_has_its_width():
    assert len(sparkline([float(i % 7) for i in range(1_001)], 48)) == 48


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (0.5, "0.500"),
        (-1.23456, "-1.235"),
        (0.0123, "0.012"),
        (0.00123, "1.2e-03"),
        (-0.00005, "-5.0e-05"),
        (12.34, "12.3"),
        (-487.6543, "-487.7"),
        (1234567.0, "1,234,567.0"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_number(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0:00"),
        (0.6, "0:01"),
        (65, "1:05"),
        (59.7, "1:00"),  # never 0:60
        (3599.7, "1:00:00"),
        (2 * 3600 + 3 * 60 + 4, "2:03:04"),
        (100 * 3600, "100:00:00"),
    ],
)
def test_duration(seconds, expected):
    assert duration(seconds) == expected


def test_describe():
    text = "eval return 201.2 ± 11.5 (17 episodes), success 64%"
    assert describe(SUMMARY) == text
    unknown = SUMMARY._replace(success_rate=None, success_at=None)
    assert describe(unknown) == "eval return 201.2 ± 11.5 (17 episodes)"
    none = SUMMARY._replace(success_rate=0.0)
    assert describe(none).endswith(", success 0%")


def test_path_is_relative_inside_the_current_folder(here):
    assert relative(here / "runs/a") == "runs/a"
    assert relative(Path("runs/a")) == "runs/a"
    assert relative(here.parent) == str(here.parent)


# PlainMonitor and QuietMonitor


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
    monitor.evaluation(2_000, SUMMARY, "")
    monitor.evaluation(3_000, SUMMARY, "best")
    monitor.evaluation(4_000, SUMMARY, "tied for best")
    described = "eval return 201.2 ± 11.5 (17 episodes), success 64%"
    assert capsys.readouterr().out == (
        f"step 2,000/50,000  {described}\nstep 3,000/50,000  {described}  (best)\n"
        f"step 4,000/50,000  {described}  (tied for best)\n"
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


def test_plain_monitor_skips_rows_within_its_interval_except_the_last(capsys, clock):
    monitor = PlainMonitor()
    monitor.start("t", {}, 0, 1_000)
    capsys.readouterr()
    for step in range(100, 1_001, 100):  # every 0.5 s: each fourth row, and the last
        monitor.row(step, ROW)
        clock.seconds += 0.5
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [
        "100/1,000",
        "500/1,000",
        "900/1,000",
        "1,000/1,000",
    ]


def test_row_with_always_print_is_not_skipped(capsys, clock, live):
    plain = PlainMonitor()
    plain.start("t", {}, 0, 1_000, (0, 2_000))
    capsys.readouterr()
    for step in (100, 200, 300):
        plain.row(step, ROW, always_print=step < 300)
    rest = "episode 1,234/2,000  return 87.7  max 120.2  success 12%  9,876 steps/s  loss 0.123"
    assert capsys.readouterr().out.splitlines() == [f"step 100  {rest}", f"step 200  {rest}"]
    live.start("t", {}, 0, 1_000, (0, 2_000))
    for step in (100, 200, 300):
        live.row(step, ROW, always_print=step < 300)
    lines = live.console.file.getvalue().splitlines()
    shown = [
        text[text.find("step ") :] for text in lines
    ]  # the first line begins with a control sequence
    assert [text for text in shown if text.endswith(rest)] == [
        f"step {n}  {rest}" for n in (100, 200)
    ]


def test_plain_monitor_prints_every_evaluation(capsys, clock):
    monitor = PlainMonitor()
    for step in (100, 200, 300):
        monitor.evaluation(step, SUMMARY, "")
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_quiet_monitor_prints_only_notes_on_stderr(capsys):
    monitor = QuietMonitor()
    monitor.start("title", FACTS, 0, 1_000)
    monitor.row(1_000, ROW)
    monitor.evaluation(1_000, SUMMARY, "best")
    monitor.note("no videos: [red]x[/red]")
    monitor.close()
    assert capsys.readouterr() == ("", "no videos: [red]x[/red]\n")


@pytest.mark.parametrize(
    ("quiet", "terminal", "expected"),
    [
        (True, True, QuietMonitor),
        (True, False, QuietMonitor),
        (False, True, LiveMonitor),
        (False, False, PlainMonitor),
    ],
)
def test_monitor_is_chosen_by_quiet_and_terminal(monkeypatch, quiet, terminal, expected):
    monkeypatch.setattr(
        console_module, "Console", lambda: Console(file=io.StringIO(), force_terminal=terminal)
    )
    assert type(make_monitor(quiet)) is expected


# LiveMonitor


def terminal():
    return Console(file=io.StringIO(), width=100, force_terminal=True)


def view(monitor):
    """The current view of the monitor as text."""
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(monitor)
    return console.export_text()


@pytest.fixture
def live():
    """A live monitor that writes to a string; closed after the test."""
    monitor = LiveMonitor(terminal())
    yield monitor
    monitor.close()


def line(monitor, label):
    """The line of the view that begins with a label, without the label and the panel border."""
    lines = [text.strip("│ ").strip() for text in view(monitor).splitlines()]
    (found,) = [text for text in lines if text.startswith(label + "  ")]
    return found.removeprefix(label).strip()


def test_live_monitor_shows_step_return_evaluation_losses_speed_and_folder(live, clock):
    live.start("dqn · cartpole", FACTS, 0, 50_000)
    live.row(1_500, ROW)
    live.row(1_600, ROW | {"rollout/episode_return": 90.0})
    live.evaluation(2_000, SUMMARY, "best")
    live.evaluation(3_000, SUMMARY._replace(mean=-44.0), "")
    text = view(live)
    assert "dqn · cartpole" in text.splitlines()[0]
    assert "1,600 / 50,000 steps" in text
    assert (
        line(live, "training return")
        == "90.0   max 120.2   success 12%   length 55   episodes 1,234"
    )
    assert "▁█" in text
    described = "± 11.5 (17 episodes), success 64%  at step"
    assert line(live, "evaluation") == f"eval return -44.0 {described} 3,000"
    assert line(live, "best") == f"eval return 201.2 {described} 2,000"
    assert line(live, "learning") == "loss 0.123   q_mean 45.7"
    assert line(live, "speed") == "9,876 steps/s"
    assert line(live, "folder") == "runs/dqn/cartpole/x"


def test_live_monitor_measures_progress_in_episodes_if_they_are_the_budget(live, clock):
    live.start("t", FACTS, 0, 50_000, (1_000, 1_300))
    assert "1,000 / 1,300 episodes   --:--" in view(live)
    clock.seconds += 78
    live.row(40_000, ROW)  # 234 episodes in 78 s: 3 per second, 66 left
    assert "1,234 / 1,300 episodes   0:22 left" in view(live)


def test_live_monitor_keeps_the_last_return_while_no_episode_ends(live):
    live.start("t", FACTS, 0, 50_000)
    live.row(100, ROW)
    live.row(200, {"rollout/episodes": 1_234.0, "time/steps_per_second": 50.0})
    assert line(live, "training return").startswith("87.7")
    assert line(live, "speed") == "50 steps/s"


@pytest.mark.parametrize("markup", ["[red]x[/red]", "[/]", "a\\", "[bold]"])
def test_live_monitor_shows_markup_in_texts_literally(live, markup):
    live.start(f"title {markup} end", {"folder": f"runs/{markup}/x"}, 0, 1_000)
    live.note(f"note {markup} end")
    assert f"title {markup} end" in view(live)
    assert line(live, "folder") == f"runs/{markup}/x"
    assert f"note {markup} end" in live.console.file.getvalue()


def test_live_monitor_writes_to_its_console_until_closed(clock):
    monitor = LiveMonitor(terminal())
    monitor.start("the title", FACTS, 0, 1_000)
    monitor.row(1_000, ROW)
    monitor.close()
    monitor.close()  # closing again does nothing
    shown = monitor.console.file.getvalue()
    assert "the title" in shown
    assert "1,000 / 1,000 steps" in shown
    assert "runs/dqn/cartpole/x" in shown


def test_close_before_start_prints_nothing():
    monitor = LiveMonitor(terminal())
    monitor.close()
    assert monitor.console.file.getvalue() == ""


@pytest.mark.parametrize(
    ("start", "step", "expected"),
    [
        (0, 0, "--:--"),
        (0, 250, "0:30 left"),  # 25 steps per second, 750 left
        (500, 500, "--:--"),
        (500, 750, "0:10 left"),  # resumed at 500: 25 steps per second
        (0, 1_000, "done"),
    ],
)
def test_live_monitor_estimates_time_left_from_steps_of_this_process(
    live, clock, start, step, expected
):
    live.start("t", FACTS, start, 1_000)
    clock.seconds += 10
    live.row(step, ROW)
    assert f"{step:,} / 1,000 steps   {expected}" in view(live)


def test_row_may_add_a_metric_while_the_view_is_rendered(live):
    """rich renders in its own thread, while the trainer may report a row."""

    class Name(str):
        def startswith(self, *args):
            live.row(200, {"train/new": 1.0})
            return super().startswith(*args)

    live.row(100, {Name("train/loss"): 0.5, "train/kl": 0.25})
    assert "loss 0.500" in view(live)
    assert line(live, "learning") == "loss 0.500   kl 0.250   new 1.000"


# summary_table


def table(summary, title="a title"):
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(summary_table(summary, title))
    text = console.export_text()
    cells = [row.strip("│").split("│") for row in text.splitlines() if row.startswith("│")]
    return text, {name.strip(): value.strip() for name, value in cells}


def test_summary_table_shows_every_value():
    text, cells = table(SUMMARY, "dqn on [red]x[/red]")
    assert text.splitlines()[0].strip() == "dqn on [red]x[/red]"
    assert cells == {
        "episodes": "17",
        "mean return": "201.25",
        "std": "11.50",
        "median": "198.75",
        "IQM [95% interval]": "195.50 [-190.25, 205.75]",
        "min, max": "-12.50, 300.25",
        "mean length": "123.4",
        "success rate (return >= 195)": "64%",
    }


def test_summary_table_without_a_threshold_names_the_key():
    _, cells = table(SUMMARY._replace(success_rate=None, success_at=None))
    assert cells["success rate"] == "no threshold; set env.success_at"
