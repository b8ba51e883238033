"""The live view: its rows at several widths, times, and texts that look like markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rl_cli.tracking.live import MOST, Curve, LiveMonitor
from tests.tracking.reports import FACTS, ROW, SUMMARY


def terminal():
    return Console(file=io.StringIO(), width=100, force_terminal=True)


def view(monitor, width=100):
    """The current view of the monitor as text."""
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(monitor)
    return console.export_text()


@pytest.fixture
def live():
    """A live monitor that writes to a string; closed after the test."""
    monitor = LiveMonitor(terminal())
    yield monitor
    monitor.close()


def rows(monitor, width=100):
    """The rows of the view by label, without frame; lines of one row are separated by a space."""
    found = {}
    for text in view(monitor, width).splitlines()[3:-1]:
        cells = text.strip("│\n")[1:]
        label = cells[:10].strip() or label  # noqa: F821  a further line of the row before
        found[label] = f"{found.get(label, '')} {cells[12:].strip()}".strip()
    return found


def test_live_monitor_shows_return_evaluation_losses_times_and_facts(live, clock):
    live.start("dqn · cartpole", FACTS | {"seed": "3"}, 0, 50_000)
    live.row(1_500, ROW)
    clock.seconds += 16
    live.row(1_600, ROW | {"rollout/episode_return": 90.0})
    live.evaluation(2_000, SUMMARY, "best")
    live.evaluation(3_000, SUMMARY._replace(mean=-44.0), "")
    clock.seconds += 4
    text = view(live)
    assert "dqn · cartpole" in text.splitlines()[0]
    assert "1,600 / 50,000 steps" in text
    described = "± 11.5 (17 episodes), success 64%   at step"
    assert rows(live) == {
        "training": "return 90.0   max 120.2   success 12%   length 55   episodes 1,234 "
        "▁█  87.7 to 90.0",
        "evaluation": f"eval return -44.0 {described} 3,000",
        "best": f"eval return 201.2 {described} 2,000",
        "learning": "loss 0.123   q_mean 45.7",
        "time": "0:20 elapsed   8:04 left   9,876 steps/s",  # 16 s for 1,600 steps
        "folder": "runs/dqn/cartpole/x",
        "seed": "3",
    }


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_live_view_breaks_no_word_and_no_frame(live, clock, width):
    path = "runs/ppo/lunarlander_continuous/20261126-141158_s0_dee8"
    facts = {"folder": path, "preset": "tuned: ppo_lunarlander_continuous", "seed": "4294967295"}
    live.start("ppo · lunarlander_continuous", facts, 0, 10_000_000)
    names = ("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")
    losses = {f"train/{name}": -123.456 for name in names}
    for step in range(1, 101):
        live.row(
            step * 100_000, ROW | losses | {"rollout/episode_return": -12_346.0 - 99 * (step > 50)}
        )
    live.evaluation(9_999_999, SUMMARY._replace(mean=-12_345.6), "best")
    live.stopping()
    with live.waiting("compiling the update step"):
        lines = view(live, width).splitlines()
        shown = " ".join(rows(live, width).values())
    assert {len(line) for line in lines} == {width - 2}  # ^C fits after the last line
    assert [lines[0][0], lines[0][-1], lines[-1][0], lines[-1][-1]] == list("╭╮╰╯")
    assert all(line[0] == line[-1] == "│" for line in lines[1:-1])
    assert "10,000,000 / 10,000,000 steps" in lines[1]
    words = ["12%", "64%", "at step 9,999,999", "9,876 steps/s", "4294967295"]
    words += ["compiling", "second signal", "-12,445.0 to -12,346.0", facts["preset"]]
    words += [
        *(f"{name} -123.5" for name in names),
        *(["/".join(path.split("/")[:3])] if width < 70 else [path]),
    ]
    assert [word for word in words if word not in shown] == []


def test_live_view_says_what_training_waits_for_and_since_when(live, clock):
    live.start("t", FACTS, 0, 1_000)
    live.row(100, ROW)
    with live.waiting("compiling the update step"):
        clock.seconds += 12
        assert rows(live)["waiting"].endswith("compiling the update step (12 s)")
    assert "waiting" not in rows(live)
    clock.seconds += 5
    live.row(200, ROW)  # 200 steps in 5 s, without the 12 s of waiting: 800 in 20 s
    assert rows(live)["time"] == "0:17 elapsed   0:20 left   9,876 steps/s"


def test_live_monitor_measures_progress_in_episodes_if_they_are_the_budget(live, clock):
    live.start("t", FACTS, 0, 50_000, (1_000, 1_300))
    assert "1,000 / 1,300 episodes" in view(live)
    assert "--:-- left" in rows(live)["time"]
    clock.seconds += 78
    live.row(40_000, ROW)  # 234 episodes in 78 s: 3 per second, 66 left
    assert "1,234 / 1,300 episodes" in view(live)
    assert "1:18 elapsed   0:22 left" in rows(live)["time"]


def test_live_monitor_keeps_the_last_return_while_no_episode_ends(live):
    live.start("t", FACTS, 0, 50_000)
    live.row(100, ROW)
    live.row(200, {"rollout/episodes": 1_234.0, "time/steps_per_second": 50.0})
    assert rows(live)["training"].startswith("return 87.7")
    assert rows(live)["time"].endswith("   50 steps/s")


@pytest.mark.parametrize("markup", ["[red]x[/red]", "[/]", "a\\", "[bold]"])
def test_live_monitor_shows_markup_in_texts_literally(live, markup):
    live.start(f"title {markup} end", {"folder": f"runs/{markup}/x"}, 0, 1_000)
    live.note(f"note {markup} end")
    assert f"title {markup} end" in view(live)
    assert rows(live)["folder"] == f"runs/{markup}/x"
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
        (0, 0, "--:-- left"),
        (0, 250, "0:30 left"),  # 25 steps per second, 750 left
        (500, 500, "--:-- left"),
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
    assert f"{step:,} / 1,000 steps" in view(live)
    assert rows(live)["time"].split("   ")[1] == expected


def test_row_may_add_a_metric_while_the_view_is_rendered(live):
    """rich renders in its own thread, while the trainer may report a row."""

    class Name(str):
        def startswith(self, *args):
            live.row(200, {"train/new": 1.0})
            return super().startswith(*args)

    live.row(100, {Name("train/loss"): 0.5, "train/kl": 0.25})
    assert "loss 0.500" in view(live)
    assert rows(live)["learning"] == "loss 0.500   kl 0.250   new 1.000"


def test_row_with_always_print_is_printed_above_the_view(live):
    rest = "episode 1,234/2,000  return 87.7  max 120.2  success 12%  9,876 steps/s  loss 0.123"
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


def test_curve_of_any_length_keeps_its_shape_in_bounded_memory():
    curve, count = Curve(), 16 * MOST
    for i in range(count):
        curve.add(float(i))
        assert len(curve.values) + len(curve.stretch) < 2 * MOST + 32
    assert len(curve.values) < MOST
    width = count // len(curve.values)
    assert curve.values == [(2 * i + 1) * width / 2 - 0.5 for i in range(len(curve.values))]


def test_short_curve_is_kept_as_it_is():
    curve = Curve()
    for value in (3.0, 1.0, 2.0):
        curve.add(value)
    assert curve.values == [3.0, 1.0, 2.0]
