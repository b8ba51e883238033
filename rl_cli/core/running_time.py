"""Time in which this process was running.

A process may be stopped: Ctrl-Z, a batch system that suspends a job, a laptop that is closed. No process answers then,
and nothing is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RunningTime:
    """Sums the time between calls of `advance`, each gap as `interval` seconds at most.

    A longer gap means that the process was stopped in between.

    Args:
        interval: seconds between two calls, as planned.
        clock: in seconds.

    """

    def __init__(self, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval, self.clock = interval, clock
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self.seconds, self.last = 0.0, self.clock()

    def advance(self) -> float:
        """Count the time since the last call. -> seconds since `restart`."""
        now = self.clock()
        self.seconds += min(now - self.last, self.interval)
        self.last = now
        return self.seconds
