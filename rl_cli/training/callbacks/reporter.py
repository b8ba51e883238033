"""Reports of a run, to the logger (with retries) and to the monitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rl_cli.core.types import Episode
from rl_cli.tracking.console import Monitor
from rl_cli.tracking.logger import Logger
from rl_cli.tracking.statistics import Summary
from rl_cli.training.callbacks.disk_retry import DiskRetry


class Reporter:
    """Writes rows and evaluations, and shows them.

    Args:
        logger: writes them; failed writes are retried at the next report.
        monitor: shows them.

    """

    def __init__(self, logger: Logger, monitor: Monitor) -> None:
        self.logger, self.monitor = logger, monitor
        self.retry = DiskRetry("curves", monitor.note)

    def row(self, step: int, row: Mapping[str, float], always_print: bool = False) -> None:
        """A row of training metrics. `always_print`: the monitor may not skip it."""
        self.retry(lambda: self.logger.write(step, row))
        self.monitor.row(step, row, always_print)

    def evaluation(
        self,
        step: int,
        episodes: Sequence[Episode],
        seed: int,
        summary: Summary,
        rank: str,
        best: float,
    ) -> None:
        """A complete evaluation.

        `rank`: "best", "tied for best" or empty. `best`: the best mean return of the run so far.
        """
        self.retry(lambda: self.logger.write_evaluation(step, episodes, seed, summary, best))
        self.monitor.evaluation(step, summary, rank)

    def note(self, text: str) -> None:
        """A line for the user."""
        self.monitor.note(text)
