"""Monitors: output of a run on stdout. A live view on a terminal, lines of text elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rl_cli.tracking.formatting import (
    describe,
    describe_returns,
    describe_row,
    duration,
    number,
    sparkline,
)
from rl_cli.tracking.statistics import Summary

STOPPING = "stopping: finishing the step and saving; a second signal ends the process at once"

Episodes = tuple[int, int] | None
"""Finished training episodes and their budget, if they measure progress; else None."""


class Monitor(Protocol):
    """Shows the progress of a run. Its methods must not block."""

    def start(
        self,
        title: str,
        facts: Mapping[str, str],
        step: int,
        budget: int,
        episodes: Episodes = None,
    ) -> None: ...

    def row(self, step: int, row: Mapping[str, float], always_print: bool = False) -> None:
        """A row of metrics. `always_print`: it may not be skipped."""

    def evaluation(self, step: int, summary: Summary, rank: str) -> None:
        """An evaluation. `rank`: "best", "tied for best" or empty."""

    def note(self, text: str) -> None: ...

    def stopping(self) -> None:
        """A signal arrived. Called from its handler: must not take a lock."""

    def close(self) -> None: ...


def make_monitor(quiet: bool) -> Monitor:
    """A quiet monitor if requested; else a live one on a terminal and a plain one elsewhere."""
    if quiet:
        return QuietMonitor()
    console = Console()
    return LiveMonitor(console) if console.is_terminal else PlainMonitor()


class QuietMonitor:
    """Prints warnings only, on stderr."""

    def start(
        self,
        title: str,
        facts: Mapping[str, str],
        step: int,
        budget: int,
        episodes: Episodes = None,
    ) -> None:
        """Prints nothing."""

    def row(self, step: int, row: Mapping[str, float], always_print: bool = False) -> None:
        """Prints nothing."""

    def evaluation(self, step: int, summary: Summary, rank: str) -> None:
        """Prints nothing."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def stopping(self) -> None:
        os.write(2, f"{STOPPING}\n".encode())

    def close(self) -> None:
        """Prints nothing."""


class PlainMonitor(QuietMonitor):
    """One line per row, at most one every two seconds, for logs and pipes."""

    INTERVAL = 2.0

    def __init__(self) -> None:
        self.budget, self.last = 1, -math.inf
        self.episodes: int | None = None  # budget of episodes

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

    def row(self, step: int, row: Mapping[str, float], always_print: bool = False) -> None:
        now = time.monotonic()
        finished = int(row["rollout/episodes"])
        last = step >= self.budget or (self.episodes is not None and finished >= self.episodes)
        if now - self.last < self.INTERVAL and not (last or always_print):
            return
        self.last = now
        print("  ".join([self._progress(step), *describe_row(row, self.episodes)]), flush=True)

    def evaluation(self, step: int, summary: Summary, rank: str) -> None:
        suffix = f"  ({rank})" if rank else ""
        print(f"{self._progress(step)}  {describe(summary)}{suffix}", flush=True)

    def _progress(self, step: int) -> str:
        return f"step {step:,}/{self.budget:,}" if self.episodes is None else f"step {step:,}"

    def note(self, text: str) -> None:
        print(text, flush=True)


class LiveMonitor:
    """A progress bar with the time left, the latest row, evaluations and a curve of returns."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.title, self.facts, self.budget = "", {}, 1  # type: tuple[str, Mapping[str, str], int]
        self.unit = "steps"  # of the progress bar; or "episodes"
        self.step, self.started_at, self.started = 0, 0, time.monotonic()
        self.stepped = self.started  # time of the last row
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
        self.step = self.started_at = step
        if episodes is not None:
            self.unit = "episodes"
            self.step = self.started_at = episodes[0]
            self.budget = episodes[1]
        self.started = time.monotonic()
        self.live.start()

    def row(self, step: int, row: Mapping[str, float], always_print: bool = False) -> None:
        self.step = step if self.unit == "steps" else int(row["rollout/episodes"])
        self.stepped = time.monotonic()
        self.latest = {**self.latest, **row}  # a new dict: rich's thread may be reading the old one
        if "rollout/episode_return" in row:
            self.returns.append(row["rollout/episode_return"])
        if always_print:  # printed above the live view, where it remains visible
            budget = self.budget if self.unit == "episodes" else None
            self.note("  ".join([f"step {step:,}", *describe_row(row, budget)]))

    def evaluation(self, step: int, summary: Summary, rank: str) -> None:
        self.last_evaluation = f"{describe(summary)}  [dim]at step {step:,}[/]"
        if rank:
            self.best_evaluation = self.last_evaluation

    def note(self, text: str) -> None:
        self.live.console.print(escape(text), highlight=False)

    def stopping(self) -> None:
        self.title = STOPPING

    def close(self) -> None:
        if self.live.is_started:
            self.live.stop()

    def __rich__(self) -> RenderableType:
        """The current view. rich calls this eight times a second from its own thread."""
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
        done = self.step - self.started_at
        if done <= 0:
            return "--:--"
        seconds = (self.stepped - self.started) / done * (self.budget - self.step)
        return f"{duration(seconds)} left" if self.step < self.budget else "done"
