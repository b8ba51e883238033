"""The live view of a run on a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rl_cli.core.errors import escaped
from rl_cli.tracking.console import STOPPING, Episodes
from rl_cli.tracking.formatting import (
    binned,
    cell,
    describe,
    describe_returns,
    describe_row,
    duration,
    joined,
    number,
    path_lines,
    sparkline,
)
from rl_cli.tracking.statistics import Summary

LABELS, PADDING = 10, 2
"""Columns of the longest label, and between label and value."""

FRAME = 4
"""Columns of the panel's frame and its padding."""

ECHO = 2
"""Columns to the right of the frame, where a terminal shows ^C. In the frame's last line it would start a new one."""

SPARKS = 48
"""Largest width of the curve of returns."""


MOST = 1_000
"""Values of a curve that are kept."""


class Curve:
    """A curve of any number of values, in bounded memory: means of stretches of equal length.

    Attributes:
        values: the means, fewer than `MOST`.

    """

    def __init__(self) -> None:
        self.values: list[float] = []
        self.stretch: list[float] = []  # the values that are not yet in a mean
        self.length = 1

    def add(self, value: float) -> None:
        self.stretch.append(value)
        if len(self.stretch) < self.length:
            return
        self.values = [*self.values, sum(self.stretch) / self.length]  # rich's thread may read
        self.stretch = []
        if len(self.values) >= MOST:
            pairs = zip(self.values[::2], self.values[1::2], strict=True)
            self.values, self.length = [(a + b) / 2 for a, b in pairs], 2 * self.length


class LiveMonitor:
    """A progress bar, the latest row, evaluations, a curve of returns, and elapsed and remaining time."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.title, self.facts, self.budget = "", {}, 1  # type: tuple[str, Mapping[str, str], int]
        self.unit = "steps"  # of the progress bar; or "episodes"
        self.step, self.started_at, self.started = 0, 0, time.monotonic()
        self.stepped = self.started  # time of the last row
        self.waited = 0.0  # seconds since the start in which training waited
        self.spinner: tuple[str, float, Spinner] | None = None  # reason, time it began
        self.latest: dict[str, float] = {}
        self.returns = Curve()
        self.last_evaluation: list[str] = []
        self.best_evaluation: list[str] = []
        self.is_stopping = False
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
        self.started = self.stepped = time.monotonic()
        self.live.start()

    def row(self, step: int, row: Mapping[str, float], always_print: bool = False) -> None:
        self.step = step if self.unit == "steps" else int(row["rollout/episodes"])
        self.stepped = time.monotonic()
        self.latest = {**self.latest, **row}  # a new dict: rich's thread may be reading the old one
        if "rollout/episode_return" in row:
            self.returns.add(row["rollout/episode_return"])
        if always_print:  # printed above the live view, where it remains visible
            budget = self.budget if self.unit == "episodes" else None
            self.note("  ".join([f"step {step:,}", *describe_row(row, budget)]))

    def evaluation(self, step: int, summary: Summary, rank: str) -> None:
        self.last_evaluation = [describe(summary), f"at step {step:,}"]
        if rank:
            self.best_evaluation = self.last_evaluation

    def note(self, text: str) -> None:
        self.live.console.print(cell(text), highlight=False)

    @contextlib.contextmanager
    def waiting(self, reason: str) -> Iterator[None]:
        started = time.monotonic()
        self.spinner = reason, started, Spinner("dots")
        try:
            yield
        finally:
            self.spinner = None
            self.waited += time.monotonic() - started

    def stopping(self) -> None:
        self.is_stopping = True

    def close(self) -> None:
        if self.live.is_started:
            self.live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The current view. rich calls this eight times a second from its own thread."""
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        bar.add_row(
            ProgressBar(self.budget, self.step, complete_style="cyan", finished_style="green"),
            f"{self.step:,} / {self.budget:,} {self.unit}",
        )
        width = max(options.max_width - ECHO - FRAME - LABELS - PADDING, 20)
        body = Table.grid(padding=(0, PADDING))
        body.add_column(style="dim", no_wrap=True, min_width=LABELS)
        body.add_column()
        for label, value in [*self._state(), *self._results(width), *self._numbers(width)]:
            body.add_row(label, value)
        yield Panel(
            Group(bar, Text(), body),
            title=cell(self.title),
            title_align="left",
            width=options.max_width - ECHO,
        )

    def _state(self) -> Iterator[tuple[str, RenderableType]]:
        """The current activity of the run, if it is not training."""
        if self.is_stopping:
            yield "signal", Text(STOPPING, style="yellow")
        if (spinner := self.spinner) is not None:
            reason, started, spin = spinner
            spin.update(text=f"{reason} ({time.monotonic() - started:.0f} s)")
            yield "waiting", spin

    def _results(self, width: int) -> Iterator[tuple[str, RenderableType]]:
        """Training returns with their curve, and evaluations."""
        latest = self.latest
        if "rollout/episode_return" in latest:
            mean, *more = describe_returns(latest)
            more += [f"length {latest.get('rollout/episode_length', 0.0):,.0f}"]
            more += [f"episodes {latest['rollout/episodes']:,.0f}"]
            lines = Text(joined([f"return {mean}", *more], width))
            lines.stylize("bold", 0, len(f"return {mean}"))
            yield "training", lines
            yield "", self._curve(width)
        if self.last_evaluation:
            yield "evaluation", Text(joined(self.last_evaluation, width))
            yield "best", Text(joined(self.best_evaluation, width), style="green")

    def _curve(self, width: int) -> Text:
        """Sparkline of the training returns, with the values of its lowest and highest block."""
        values = self.returns.values
        means = binned(values, min(SPARKS, width // 2))
        scale = f"{number(min(means))} to {number(max(means))}"
        return Text.assemble((sparkline(values, len(means)), "cyan"), f"  {scale}")

    def _numbers(self, width: int) -> Iterator[tuple[str, RenderableType]]:
        """Losses, times and facts."""
        losses = [(k[6:], v) for k, v in self.latest.items() if k.startswith("train/")]
        if losses:
            yield "learning", Text(joined([f"{k} {number(v)}" for k, v in losses], width))
        times = [f"{duration(time.monotonic() - self.started)} elapsed", self._time_left()]
        if "time/steps_per_second" in self.latest:
            times.append(f"{self.latest['time/steps_per_second']:,.0f} steps/s")
        yield "time", Text(joined(times, width))
        for name, value in self.facts.items():
            yield name, Text("\n".join(path_lines(escaped(value), width)))

    def _time_left(self) -> str:
        done = self.step - self.started_at
        if self.step >= self.budget:
            return "done"
        if done <= 0:
            return "--:-- left"
        seconds = (self.stepped - self.started - self.waited) / done * (self.budget - self.step)
        return f"{duration(max(seconds, 0.0))} left"
