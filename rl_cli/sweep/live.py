"""The live table of a sweep on a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rl_cli.core.errors import plain
from rl_cli.sweep.job import RUNNING, WAITING, JobState
from rl_cli.sweep.view import STOPPING, described
from rl_cli.tracking.formatting import cell, duration, number

SHOWN = {WAITING: "waiting", "completed": "done", "interrupted": "stopped"}
"""Words for states that are shown by another one."""

STYLES = {"completed": "green", "failed": "red", "interrupted": "yellow", WAITING: "dim"}

COLUMNS = {"job": 4, "state": 7, "return": 8, "left": 7}
"""Characters of the columns besides those of keys."""

BAR, GAP = 12, 2
"""Characters of the bar of progress, which is shown if it fits, and between columns."""

ECHO = 2
"""Columns kept free, where a terminal shows ^C."""

PER_SECOND = 2_000
"""Jobs that are counted per second: a table of 10,000 is drawn every five seconds."""

HEAD = 6
"""Lines of the view besides those of jobs, and one below it."""


class LiveView:
    """A row per job: what is particular to it, state, progress, last return, remaining time.

    Running jobs are always shown; of the others as many as fit.
    """

    is_live = True

    def __init__(self, console: Console) -> None:
        self.console = console
        self.states: list[JobState] = []
        self.longest: dict[str, int] = {}  # key that is particular to jobs -> characters of a value
        self.drawn = 0.0  # when it was drawn last
        self.started = time.monotonic()
        self.is_stopping = False
        # without a thread of its own: jobs are forked from this process
        self.live = Live(self, console=console, auto_refresh=False, transient=True)

    def add(self, state: JobState) -> None:
        self.states.append(state)
        for key, value in map(_pair, state.job.own):
            self.longest[key] = max(self.longest.get(key, 0), len(value))
        if not self.live.is_started:
            self.live.start()

    def changed(self, state: JobState) -> None:
        if state.state not in (RUNNING, "completed"):  # remains visible above the table
            self.output(state.number, [described(state)])

    def output(self, number: int, lines: Sequence[str]) -> None:
        for line in lines:
            self.live.console.print(cell(f"[{number}] {plain(line)}"), highlight=False)

    def stopping(self, signum: int) -> None:
        self.is_stopping = True

    def refresh(self) -> None:
        if time.monotonic() - self.drawn >= len(self.states) / PER_SECOND:
            self.live.refresh()
            self.drawn = time.monotonic()

    def close(self) -> None:
        if self.live.is_started:
            self.live.stop()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width - ECHO
        rows = self._rows(max(console.height - HEAD, 3))
        keys, values = list(self.longest), list(self.longest.values())
        free = width - sum(COLUMNS.values()) - GAP * (len(COLUMNS) + len(keys))
        with_left = sum(max(size, SHORTEST) for size in values) <= free
        free += 0 if with_left else COLUMNS["left"] + GAP
        with_bar = sum(map(max, map(len, keys), values)) + BAR + GAP <= free
        widths = fitted_widths(keys, values, free)
        table = Table(
            box=box.SIMPLE_HEAD, padding=(0, GAP - 1, 0, 0), pad_edge=False, show_edge=False
        )
        table.add_column("job", width=COLUMNS["job"], justify="right", no_wrap=True)
        for name, size in zip(keys, widths, strict=True):
            table.add_column(plain(name), width=size, no_wrap=True, overflow="ellipsis")
        table.add_column("state", width=COLUMNS["state"], no_wrap=True)
        if with_bar:
            table.add_column("", width=BAR)
        for name in ("return", "left") if with_left else ("return",):
            table.add_column(name, width=COLUMNS[name], justify="right", no_wrap=True)
        for state in rows:
            cells = list(self._cells(state, keys, with_bar))[: len(table.columns)]
            table.add_row(*cells, style=STYLES.get(state.state, ""))
        hidden = len(self.states) - len(rows)
        below = Text(f"{hidden} more jobs" if hidden else "", style="dim")
        yield Group(Text(self._summary(width)), Text(), table, below)

    def _cells(
        self, state: JobState, keys: Sequence[str], with_bar: bool
    ) -> Iterable[Text | ProgressBar]:
        values = dict(_pair(word) for word in state.job.own)
        yield Text(str(state.number))
        yield from (Text(plain(values.get(key, ""))) for key in keys)
        budget = state.job.cfg.total_timesteps
        done = budget if state.state == "completed" else min(state.step, budget)
        word = (
            f"{done / budget:.0%}"
            if state.state == RUNNING
            else SHOWN.get(state.state, state.state)
        )
        yield Text(word)
        if with_bar:
            bar = ProgressBar(budget, done, BAR, complete_style="cyan", finished_style="green")
            yield Text() if state.state == WAITING else bar
        yield Text("" if state.eval_return is None else number(state.eval_return))
        yield Text(_left(state))

    def _rows(self, most: int) -> list[JobState]:
        """Running jobs, then those that ended last, failed ones first, then the next ones, in order."""
        order = {RUNNING: 0, "failed": 1, "interrupted": 1, WAITING: 2, "completed": 3}
        ranked = sorted(
            self.states,
            key=lambda s: (order.get(s.state, 1), s.number if s.state == WAITING else -s.began),
        )
        return sorted(ranked[:most], key=lambda state: state.number)

    def _summary(self, width: int) -> str:
        """How many jobs are in each state; elapsed and remaining time."""
        counts = Counter(SHOWN.get(state.state, state.state) for state in self.states)
        names = ("done", "running", "waiting", "failed", "stopped")
        parts = [f"{counts[name]} {name}" for name in names if counts[name]]
        elapsed = time.monotonic() - self.started
        times = [f"{duration(elapsed)} elapsed", f"{self._left(elapsed)} left"]
        line = f"{len(self.states)} jobs: {', '.join(parts)}   {'   '.join(times)}"
        if self.is_stopping:
            line = STOPPING
        return line if len(line) <= width else f"{', '.join(parts)}   {times[1]}"

    def _left(self, elapsed: float) -> str:
        """Remaining time, from the steps that all jobs made since the start."""
        steps = missing = 0
        for state in self.states:
            budget = state.job.cfg.total_timesteps
            if state.attempts:
                done = budget if state.state == "completed" else min(state.step, budget)
                steps += max(done - state.began_at, 0)
            if state.state in (RUNNING, WAITING):
                missing += max(budget - state.step, 0)
        return duration(missing * elapsed / steps) if steps else "--:--"


def fitted_widths(keys: Sequence[str], values: Sequence[int], free: int) -> list[int]:
    """Widths of the columns of keys within `free` characters: names are shortened before values.

    Args:
        keys: names of the columns.
        values: characters of the longest value of each.
        free: for all of them.

    """
    widths = [max(len(key), size) for key, size in zip(keys, values, strict=True)]
    while sum(widths) > free and max(widths, default=0) > SHORTEST:
        spare = [width - max(size, SHORTEST) for width, size in zip(widths, values, strict=True)]
        most = max(spare)
        widest = spare.index(most) if most > 0 else widths.index(max(widths))
        widths[widest] -= 1
    return widths


SHORTEST = 4
"""Characters that a column keeps."""


def _pair(word: str) -> tuple[str, str]:
    """The last part of an override's key, and its value."""
    key, _, value = word.lstrip("+").partition("=")
    return key.rpartition(".")[2], value


def _left(state: JobState) -> str:
    """Remaining time of a running job, from its steps since it was started."""
    if state.state != RUNNING:
        return ""
    steps, budget = state.step - state.began_at, state.job.cfg.total_timesteps
    if steps <= 0:
        return "--:--"
    return duration((time.monotonic() - state.began) / steps * max(budget - state.step, 0))
