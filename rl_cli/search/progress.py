"""Progress of a search: a table that is redrawn on a screen, a line per trial elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from rl_cli.config.run import Display
from rl_cli.core import terminal
from rl_cli.search.active import Active
from rl_cli.search.parts import values_of
from rl_cli.search.plan import Plan
from rl_cli.search.record import STATES
from rl_cli.search.trials import label, ranked, results
from rl_cli.tracking.console import say_fitted
from rl_cli.tracking.display import is_live, screen
from rl_cli.tracking.formatting import cell, duration, number

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SHOWN = 5
"""Best trials in the table."""


class Progress:
    """Shows one part of a search.

    Args:
        plan: of the search.
        display: `RunConfig.shown`.
        title: of the part.
        limit: number of its trials.
        names: whether the trials have keys of their own, which are shown.

    """

    def __init__(
        self, plan: Plan, display: Display, title: str, limit: int, names: bool = True
    ) -> None:
        self.plan, self.title, self.names, self.display = plan, title, names, display
        self.limit = limit
        self.began, self.trials, self.active = (
            time.monotonic(),
            list["FrozenTrial"](),
            list[Active](),
        )
        self.reported: set[int] = set()
        self.known = False  # whether the trials that had ended before are known
        self.live: Live | None = None
        if is_live(display):
            self.live = Live(console=screen(), auto_refresh=False, transient=True)
            self.live.start()

    def started(self, trial: int, seed: int) -> None:
        """A run starts; the table shows it."""

    def ended(self, trial: int, text: str) -> None:
        """A trial of this process ended; `refresh` reports it with those of other processes."""

    def refresh(self, active: list[Active], trials: list[FrozenTrial]) -> None:
        """Show the state of all trials."""
        self.active, self.trials = active, trials
        over = [trial for trial in trials if trial.state.is_finished()]
        new = [trial for trial in over if label(trial) not in self.reported]
        self.reported |= {label(trial) for trial in new}
        for trial in new if self.display != "none" and self.known else ():
            if self.names:
                self._say(self._line(trial))
            elif trial.state.name != "COMPLETE":
                self._say(f"fresh run {label(trial)}  {self._result(trial)}")
        self.known = True
        if self.live is not None:
            self.live.update(self._table(), refresh=True)

    def _say(self, text: str) -> None:
        if self.live is not None:
            self.live.console.print(cell(text), highlight=False)
        else:
            say_fitted(text)

    def close(self) -> None:
        """End the table."""
        if self.live is not None:
            self.live.stop()

    def _line(self, trial: FrozenTrial) -> str:
        parts = [f"trial {label(trial)}", self._result(trial)]
        if label(trial) == 0:
            parts.append("defaults")
        else:
            parts += [f"{_leaf(k)}={_text(v)}" for k, v in values_of(self.plan, trial).items()]
        return "  ".join(parts)

    def _result(self, trial: FrozenTrial) -> str:
        if trial.state.name != "COMPLETE":
            state = STATES.get(trial.state.name, "running")
            reason = str(trial.user_attrs.get("ended", ""))
            return f"{state} ({reason})" if reason else state
        return " / ".join(number(value) for value in trial.values)

    def _table(self) -> Table:
        """The runs at work, counts, and the best trials."""
        body = Table.grid(padding=(0, 2))
        body.add_column(style="dim", no_wrap=True)
        body.add_column()
        body.add_row(self.title, Text(self._counts(), style="bold"))
        for active in self.active:
            body.add_row("run", Text(self._running(active)))
        if self.names:
            for trial in ranked(self.trials, self.plan.cfg.objective == "steps")[:SHOWN]:
                body.add_row("best", Text(self._line(trial), style="green"))
        return body

    def _counts(self) -> str:
        states = Counter(STATES.get(t.state.name, "running") for t in self.trials)
        parts = [
            f"{states[s]} {s}" for s in ("complete", "pruned", "failed", "running") if states[s]
        ]
        elapsed = duration(time.monotonic() - self.began)
        return f"{', '.join(parts) or 'starting'} of {self.limit}  {elapsed}"

    def _running(self, active: Active) -> str:
        if (run := active.run) is None:
            return f"trial {active.number}"
        step, value = run.curve[-1] if run.curve else (0, None)
        shown = "no evaluation yet" if value is None else f"return {number(value)}"
        state = "  ending" if active.pruned else ""
        return f"trial {active.number}  seed {run.seed}  step {step:,} of {self.plan.budget:,}  {shown}{state}"


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value).replace(" ", "")


def summary(trials: Sequence[FrozenTrial]) -> str:
    """Counts of trials and runs."""
    states = Counter(STATES.get(trial.state.name, "running") for trial in trials)
    parts = [f"{states[s]} {s}" for s in ("complete", "pruned", "failed") if states[s]]
    runs = [run for trial in trials for run in results(trial).values()]
    stopped = sum(run.state == "pruned" for run in runs)
    early = f", {stopped} of them ended early" if stopped else ""
    return f"{len(trials)} ({', '.join(parts)}), {counted(len(runs), 'run')}{early}"


def counted(number: int, word: str) -> str:
    """A number of things: 1 run, 2 runs."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def say(*lines: str) -> None:
    """Print lines, broken at the width of a terminal."""
    for line in lines:
        say_fitted(line) if line else terminal.say("")
