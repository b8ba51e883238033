"""What a sweep shows while it runs. This file: the interface, lines of text, and nothing; live.py: a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rl_cli.config.run import Display
from rl_cli.core import terminal
from rl_cli.core.errors import plain
from rl_cli.sweep.job import RUNNING, JobState
from rl_cli.tracking.console import say_fitted, warn_fitted
from rl_cli.tracking.display import is_live, screen
from rl_cli.tracking.formatting import duration, number

STOPPING = "stopping: jobs save and end; a second signal ends them at once"


class View(Protocol):
    """Shows the jobs of a sweep. Its methods must not block.

    Attributes:
        is_live: whether it shows the progress of running jobs.

    """

    is_live: bool

    def add(self, state: JobState) -> None:
        """Another job."""

    def changed(self, state: JobState) -> None:
        """A job was started, or has ended."""

    def output(self, number: int, lines: Sequence[str]) -> None:
        """Lines that a job printed."""

    def stopping(self, signum: int) -> None:
        """A stop signal was sent on to the jobs."""

    def refresh(self) -> None:
        """Called several times a second."""

    def close(self) -> None: ...


class QuietView:
    """Prints what jobs print, which are warnings and errors, on stderr, with the job's number in front."""

    is_live = False

    def add(self, state: JobState) -> None:
        """Prints nothing."""

    def changed(self, state: JobState) -> None:
        """Prints nothing."""

    def output(self, number: int, lines: Sequence[str]) -> None:
        for line in lines:
            warn_fitted(f"[{number}] {plain(line)}")

    def stopping(self, signum: int) -> None:
        terminal.warn(STOPPING)

    def refresh(self) -> None:
        """Prints nothing."""

    def close(self) -> None:
        """Prints nothing."""


class PlainView(QuietView):
    """A line when a job starts, and one when it ends, with what is particular to it."""

    def add(self, state: JobState) -> None:
        if state.is_complete_before:
            where = plain(state.folder)
            self._say(state, f"{state.job.name}: complete, {where}")

    def changed(self, state: JobState) -> None:
        self._say(state, described(state))

    def _say(self, state: JobState, text: str) -> None:
        say_fitted(f"[{state.number}] {text}".rstrip())


def described(state: JobState) -> str:
    """What happened to a job last, and what is particular to it."""
    name = f"  {state.job.name}" if state.job.name else ""
    if state.state == RUNNING:
        again = f"  attempt {state.attempts}" if state.attempts > 1 else ""
        step = f"  from step {state.began_at:,}" if state.began_at else ""
        return f"started{name}{again}{step}"
    if state.state != "completed":
        return f"{state.state}{name}  {plain(str(state.record['reason']))}"
    value = "" if state.eval_return is None else f"  return {number(state.eval_return)}"
    return f"done{name}{value}  {duration(state.record['seconds'])}"


def make_view(display: Display) -> View:
    """The view of `display`; auto: a live table where lines can be redrawn, else lines of text."""
    if display == "none":
        return QuietView()
    if not is_live(display):
        return PlainView()
    from rl_cli.sweep.live import LiveView

    return LiveView(screen())


def say_start(folder: Path, count: int, where: str, common: Sequence[str]) -> None:
    """Print where the jobs of a sweep run (`Executor.described`), and what all of them share."""
    say_fitted(f"sweep: {count} job{'s' if count > 1 else ''}, {where}; records in {folder}")
    if common and count > 1:
        say_fitted("all:   " + "  ".join(common), indent=7)
