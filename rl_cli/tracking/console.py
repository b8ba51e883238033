"""What a person sees of a run: a live view on a screen, one line per report elsewhere."""

from __future__ import annotations

import itertools
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rl_cli.core.errors import plain
from rl_cli.tracking.statistics import Summary

STOPPING = "stopping: finishing the step and saving; once more ends at once"

SPARKS = "▁▂▃▄▅▆▇█"

Episodes = tuple[int, int] | None
"""Training episodes finished and their budget, where they are one; they then measure progress."""


class Monitor(Protocol):
    """Told by the trainer what happens; the trainer never waits for it."""

    def start(
        self,
        title: str,
        facts: Mapping[str, str],
        step: int,
        budget: int,
        episodes: Episodes = None,
    ) -> None: ...

    def row(self, step: int, row: Mapping[str, float], in_any_case: bool = False) -> None:
        """A row of curves; `in_any_case`: one that was asked for, never held back."""

    def evaluation(self, step: int, summary: Summary, standing: str) -> None:
        """An evaluation; `standing`: among those so far, "best" or "tied for best", or empty."""

    def note(self, text: str) -> None: ...

    def stopping(self) -> None:
        """A signal has been heard. Called from its handler: must not take a lock."""

    def close(self) -> None: ...


def make_monitor(quiet: bool) -> Monitor:
    """Quiet, live (stdout is a screen), or plain."""
    if quiet:
        return QuietMonitor()
    console = Console()
    return LiveMonitor(console) if console.is_terminal else PlainMonitor()


class QuietMonitor:
    """Nothing but notes, which are warnings, on stderr."""

    def start(
        self,
        title: str,
        facts: Mapping[str, str],
        step: int,
        budget: int,
        episodes: Episodes = None,
    ) -> None:
        """Silent."""

    def row(self, step: int, row: Mapping[str, float], in_any_case: bool = False) -> None:
        """Silent."""

    def evaluation(self, step: int, summary: Summary, standing: str) -> None:
        """Silent."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def stopping(self) -> None:
        os.write(2, f"{STOPPING}\n".encode())

    def close(self) -> None:
        """Silent."""


class PlainMonitor(QuietMonitor):
    """One line per report, at most one every two seconds, for logs and pipes."""

    INTERVAL = 2.0

    def __init__(self) -> None:
        self.budget, self.last = 1, -math.inf
        self.episodes: int | None = None  # the budget of these

    def start(
        self,
        title: str,
        facts: Mapping[str, str],
        step: int,
        budget: int,
        episodes: Episodes = None,
    ) -> None:
        self.budget, self.episodes = budget, episodes and episodes[1]
        print(title, *(f"  {name}: {value}" for name, value in facts.items()), sep="\n", flush=True)

    def row(self, step: int, row: Mapping[str, float], in_any_case: bool = False) -> None:
        now = time.monotonic()
        finished = int(row["rollout/episodes"])
        last = step >= self.budget or (self.episodes is not None and finished >= self.episodes)
        if now - self.last < self.INTERVAL and not (last or in_any_case):
            return
        self.last = now
        print("  ".join([self._place(step), *describe_row(row, self.episodes)]), flush=True)

    def evaluation(self, step: int, summary: Summary, standing: str) -> None:
        told = f"  ({standing})" if standing else ""
        print(f"{self._place(step)}  {describe(summary)}{told}", flush=True)

    def _place(self, step: int) -> str:
        return f"step {step:,}/{self.budget:,}" if self.episodes is None else f"step {step:,}"

    def note(self, text: str) -> None:
        print(text, flush=True)


class LiveMonitor:
    """A progress bar with time left, the latest row, evaluations and a curve of returns."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.title, self.facts, self.budget = "", {}, 1  # type: tuple[str, Mapping[str, str], int]
        self.unit = "steps"  # of progress; or episodes
        self.step, self.begun_at, self.begun = 0, 0, time.monotonic()
        self.stepped = self.begun  # when the last row came
        self.latest: dict[str, float] = {}
        self.returns: list[float] = []
        self.last_evaluation = self.best_evaluation = ""
        self.live = Live(self, console=console, refresh_per_second=8, transient=False)

    def start(
        self,
        title: str,
        facts: Mapping[str, str],
        step: int,
        budget: int,
        episodes: Episodes = None,
    ) -> None:
        self.title, self.facts, self.budget = title, facts, budget
        self.step = self.begun_at = step
        if episodes is not None:
            self.unit = "episodes"
            self.step = self.begun_at = episodes[0]
            self.budget = episodes[1]
        self.begun = time.monotonic()
        self.live.start()

    def row(self, step: int, row: Mapping[str, float], in_any_case: bool = False) -> None:
        self.step = step if self.unit == "steps" else int(row["rollout/episodes"])
        self.stepped = time.monotonic()
        self.latest = {**self.latest, **row}  # a new dict: rich may be drawing the old one
        if "rollout/episode_return" in row:
            self.returns.append(row["rollout/episode_return"])
        if in_any_case:  # it scrolls away above the picture, where it stays to be read
            budget = self.budget if self.unit == "episodes" else None
            self.note("  ".join([f"step {step:,}", *describe_row(row, budget)]))

    def evaluation(self, step: int, summary: Summary, standing: str) -> None:
        self.last_evaluation = f"{describe(summary)}  [dim]at step {step:,}[/]"
        if standing:
            self.best_evaluation = self.last_evaluation

    def note(self, text: str) -> None:
        self.live.console.print(escape(text), highlight=False)

    def stopping(self) -> None:
        self.title = STOPPING

    def close(self) -> None:
        if self.live.is_started:
            self.live.stop()

    def __rich__(self) -> RenderableType:
        """The picture of now; rich asks for it eight times a second from a thread of its own."""
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        bar.add_row(
            ProgressBar(self.budget, self.step, complete_style="cyan", finished_style="green"),
            f"{self.step:,} / {self.budget:,} {self.unit}   {self._time_left()}",
        )
        body = Table.grid(padding=(0, 2))
        body.add_column(style="dim", no_wrap=True)
        body.add_column(overflow="fold")
        latest = self.latest
        if "rollout/episode_return" in latest:
            mean, *more = describe_returns(latest)
            length = latest.get("rollout/episode_length", 0.0)
            more += [f"length {length:,.0f}", f"episodes {latest['rollout/episodes']:,.0f}"]
            body.add_row("training return", "   ".join([f"[bold]{mean}[/]", *more]))
            body.add_row("", Text(sparkline(self.returns, 48), style="cyan"))
        if self.last_evaluation:
            body.add_row("evaluation", self.last_evaluation)
            body.add_row("best", f"[green]{self.best_evaluation}[/]")
        losses = [(k[6:], v) for k, v in latest.items() if k.startswith("train/")]
        if losses:
            body.add_row("learning", "   ".join(f"{k} {number(v)}" for k, v in losses))
        if "time/steps_per_second" in latest:
            body.add_row("speed", f"{latest['time/steps_per_second']:,.0f} steps/s")
        for name, value in self.facts.items():
            body.add_row(name, escape(value))
        return Panel(Group(bar, Text(), body), title=escape(self.title), title_align="left")

    def _time_left(self) -> str:
        done = self.step - self.begun_at
        if done <= 0:
            return "--:--"
        seconds = (self.stepped - self.begun) / done * (self.budget - self.step)
        return f"{duration(seconds)} left" if self.step < self.budget else "done"


def sparkline(values: list[float], width: int) -> str:
    """The values as a row of block characters, neighbours averaged down to `width`."""
    if not values:
        return ""
    count = min(width, len(values))
    edges = [i * len(values) // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(SPARKS[int((m - low) * scale)] for m in means)


def describe(summary: Summary) -> str:
    """An evaluation in half a line: mean and, of several, standard deviation."""
    text = f"eval return {number(summary.mean)}"
    if summary.episodes > 1:
        text += f" ± {number(summary.std)}"
    text += f" ({summary.episodes} episode{'s' if summary.episodes > 1 else ''})"
    if summary.success_rate is not None:
        text += f", success {summary.success_rate:.0%}"
    return text


def describe_returns(row: Mapping[str, float]) -> list[str]:
    """Mean, maximum and share of successes of a row's episodes; empty where none ended."""
    if "rollout/episode_return" not in row:
        return []
    told = [number(row["rollout/episode_return"])]
    if "rollout/episode_return_max" in row:
        told.append(f"max {number(row['rollout/episode_return_max'])}")
    if "rollout/success_rate" in row:
        told.append(f"success {row['rollout/success_rate']:.0%}")
    return told


def describe_row(row: Mapping[str, float], episodes: int | None) -> list[str]:
    """A row of curves in a few words; `episodes`: the budget of these, if that is the measure."""
    told = [] if episodes is None else [f"episode {row['rollout/episodes']:,.0f}/{episodes:,}"]
    if returns := describe_returns(row):
        told += [f"return {returns[0]}", *returns[1:]]
    told.append(f"{row['time/steps_per_second']:,.0f} steps/s")
    if "train/loss" in row:
        told.append(f"loss {number(row['train/loss'])}")
    return told


def describe_training(told: Mapping[str, float]) -> str:
    """A run's training episodes in a line; `told` is `statistics.Tally.summary`."""
    text = (
        f"{told['episodes']:,} episodes, return {number(told['mean'])} ± {number(told['std'])}, "
        f"mean length {told['mean_length']:,.1f}"
    )
    if "success_rate" in told:
        text += f", success {told['success_rate']:.0%} (return >= {told['success_at']:g})"
    return text


def number(value: float) -> str:
    """Three or four digits that matter."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 0.01 <= abs(value) < 10:
        return f"{value:.3f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.1e}"


def duration(seconds: float) -> str:
    """1:05 or 2:03:04."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def summary_table(summary: Summary, title: str) -> Table:
    """All of a summary."""
    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row("episodes", f"{summary.episodes}")
    table.add_row("mean return", f"{summary.mean:.2f}")
    table.add_row("std", f"{summary.std:.2f}")
    table.add_row("median", f"{summary.median:.2f}")
    table.add_row(
        "IQM [95% interval]",
        f"{summary.iqm:.2f} [{summary.iqm_low:.2f}, {summary.iqm_high:.2f}]".replace("[", r"\[", 1),
    )
    table.add_row("min, max", f"{summary.min:.2f}, {summary.max:.2f}")
    table.add_row("mean length", f"{summary.mean_length:.1f}")
    if summary.success_rate is None:
        table.add_row("success rate", "no threshold; set env.success_at")
    else:
        table.add_row(
            f"success rate (return >= {summary.success_at:g})", f"{summary.success_rate:.0%}"
        )
    return table


def relative(path: Path) -> str:
    """A path as a person in this folder would type it."""
    try:
        return plain(str(path.resolve().relative_to(Path.cwd())))
    except ValueError:
        return plain(str(path))
