"""Time in which this process was running.

A process may be stopped: Ctrl-Z, a batch system that suspends a job, a laptop that is closed. Nobody answers then,
and nothing is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


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
        self.skip(min(self.clock() - self.last, self.interval))
        return self.seconds

    def skip(self, counted: float = 0.0) -> None:
        """Count only `counted` seconds since the last call."""
        self.seconds, self.last = self.seconds + counted, self.clock()


def is_stopped(pid: int) -> bool:
    """Linux: whether a process is stopped by a signal. False elsewhere, or if it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
    except OSError:
        return False
    return state in (b"T", b"t")
