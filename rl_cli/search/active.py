"""A trial while this process works on it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rl_cli.search.trials import RunResult

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclasses.dataclass
class Active:
    """A trial of this process.

    Attributes:
        trial: of Optuna.
        number: its label.
        config: of its runs.
        left: seeds that have not run.
        done: results by seed.
        run: the current run; None: none.
        process: its number; None: it has not started, because its folder is in use.
        read: size of its eval.csv when it was last read.
        pruned: why it was stopped.
        restarts: how often its process was killed.

    """

    trial: Trial
    number: int
    config: dict[str, Any]
    left: list[int]
    done: dict[int, RunResult] = dataclasses.field(default_factory=dict)
    run: RunResult | None = None
    process: int | None = None
    read: int = 0
    pruned: str | None = None
    restarts: int = 0

    def begin(self, run: RunResult) -> None:
        """Take the next run, whose process has not started."""
        self.run = run
        self.process, self.read, self.pruned, self.restarts = None, 0, None, 0

    def started(self, process: int | None) -> None:
        """A process of this number runs the run; None: it could not be started, and is tried again."""
        self.process = process

    def is_new(self, size: int) -> bool:
        """Whether eval.csv has another size than at the call before."""
        before, self.read = self.read, size
        return size != before

    def extend(self, run: RunResult) -> None:
        """Replace the run by one with a longer curve."""
        self.run = run

    def prune(self, reason: str) -> None:
        self.pruned = reason

    def process_ended(self) -> None:
        self.process = None

    def restart(self) -> None:
        """The process was killed; the run starts again from its checkpoint."""
        self.restarts += 1

    def complete(self, result: RunResult) -> None:
        """The run, or one of another process, has this result."""
        self.done[result.seed], self.run = result, None
