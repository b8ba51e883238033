"""Monitors: output of a run on stdout. This file: their interface, and those that print lines."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from rl_cli.core import terminal
from rl_cli.core.errors import escaped
from rl_cli.tracking.formatting import describe, describe_row, number
from rl_cli.tracking.statistics import Summary

STOPPING = "stopping: finishing the step and saving; a second signal ends the process at once"

SEPARATOR, KEPT = "  ", "\N{NO-BREAK SPACE}"
"""Between the values of a line, and within a value while lines are broken."""

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

    def waiting(self, reason: str) -> AbstractContextManager[None]:
        """Training waits in the body of the context, for the `reason`."""

    def stopping(self) -> None:
        """A signal arrived. Called from its handler: must not take a lock."""

    def close(self) -> None: ...


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
        terminal.warn(text)

    @contextlib.contextmanager
    def waiting(self, reason: str) -> Iterator[None]:
        """Prints nothing; what takes long notifies by itself."""
        yield

    def stopping(self) -> None:
        terminal.urgent(STOPPING)

    def close(self) -> None:
        """Prints nothing."""


class Pace:
    """Selects lines of a run so that their number stays small, however long the run is.

    A line is selected if the last one is `MIN_SECONDS` old and either the time since the start has
    doubled or the progress has grown by `fraction` since then. So there are about 1 / `fraction` lines,
    and a few more at the beginning of a long run. The first and the last line are always selected.
    """

    MIN_SECONDS = 2.0

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction
        self.started = time.monotonic()
        self.seconds, self.progress = -math.inf, -math.inf  # of the last line

    def selects(self, progress: float) -> bool:
        """Whether to print a line. `progress`: the fraction of the budget that is used."""
        seconds = time.monotonic() - self.started
        grown = progress - self.progress >= self.fraction - 1e-9
        due = seconds - self.seconds >= self.MIN_SECONDS and (grown or seconds > 2 * self.seconds)
        if not (due or progress >= 1):
            return False
        self.seconds, self.progress = seconds, progress
        return True


class EvaluationPace(Pace):
    """Evaluations are rare: one that advances the progress enough is selected at any time."""

    MIN_SECONDS = 0.0


class PlainMonitor(QuietMonitor):
    """Lines of text, for logs, pipes and notebooks: some forty for a run of any length.

    Lines on a terminal are broken between words.
    """

    FRACTION = 0.1
    """Progress between two rows, and between two evaluations."""

    def __init__(self) -> None:
        self.budget = 1
        self.episodes: int | None = None  # budget of episodes
        self.finished = 0  # training episodes
        self.rows, self.evaluations = Pace(self.FRACTION), EvaluationPace(self.FRACTION)
        self.unseen_best = ""  # of an evaluation that was not printed

    def start(
        self,
        title: str,
        facts: Mapping[str, str],
        step: int,
        budget: int,
        episodes: Episodes = None,
    ) -> None:
        self.budget = budget
        if episodes is not None:
            self.finished, self.episodes = episodes
        for line in (title, *(f"  {name}: {value}" for name, value in facts.items())):
            self._line(line)

    def row(self, step: int, row: Mapping[str, float], always_print: bool = False) -> None:
        self.finished = int(row["rollout/episodes"])
        if self.rows.selects(self._progress(step)) or always_print:
            self._line(SEPARATOR.join([self._step(step), *describe_row(row, self.episodes)]))

    def evaluation(self, step: int, summary: Summary, rank: str) -> None:
        if not self.evaluations.selects(self._progress(step)):
            if rank:
                self.unseen_best = f"{number(summary.mean)} at step {step:,}"
            return
        if rank:
            self.unseen_best = ""
        best = rank or (f"best {self.unseen_best}" if self.unseen_best else "")
        words = [self._step(step), describe(summary), *([f"({best})"] if best else [])]
        self._line(SEPARATOR.join(words))

    def note(self, text: str) -> None:
        self._line(text)

    def _progress(self, step: int) -> float:
        done, budget = (
            (step, self.budget) if self.episodes is None else (self.finished, self.episodes)
        )
        return max(done / budget, step / self.budget)

    def _step(self, step: int) -> str:
        return f"step {step:,}/{self.budget:,}" if self.episodes is None else f"step {step:,}"

    def _line(self, text: str) -> None:
        say_fitted(text)


def say_fitted(text: str, indent: int | None = None) -> None:
    """Print `text` on lines that fit the terminal; see `fitted`."""
    terminal.say(*fitted(escaped(text), indent).splitlines())


COMMAND = re.compile(r"\b(rl-[a-z]+|pip|make) ")
"""In a line to paste, which is not broken: a terminal wraps it without a line break."""


def warn_fitted(text: str, indent: int | None = None) -> None:
    """As `say_fitted`, on standard error."""
    is_whole = COMMAND.search(text) or not terminal.is_screen(errors=True)
    terminal.warn(*([text] if is_whole else fitted(escaped(text), indent).splitlines()))


def fitted(text: str, indent: int | None = None) -> str:
    """`text` broken to the width of the terminal: between values where it lists them, else between words.

    Elsewhere it is not changed.

    Args:
        text: a line.
        indent: columns in front of the lines after the first, to break between words; None: four more than
            in front of the first.

    """
    if not terminal.is_screen():
        return text
    width = shutil.get_terminal_size().columns - 1
    before = len(text) - len(text.lstrip())
    values = [part.replace(" ", KEPT) for part in text.lstrip().split(SEPARATOR)]
    is_list = indent is None and len(values) > 1 and not values[0].endswith(":")
    if is_list and max(map(len, values)) + before + 4 <= width:
        text = text[:before] + SEPARATOR.join(values)
    lines = textwrap.wrap(
        text,
        max(width, 20),
        subsequent_indent=" " * (before + 4 if indent is None else indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(KEPT, " ")
