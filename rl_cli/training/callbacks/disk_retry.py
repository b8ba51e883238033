"""Retry of failed writes: how long a run continues while its disk is full."""

from __future__ import annotations

import time
from collections.abc import Callable

from rl_cli.core.errors import StorageError

SECONDS, FAILURES = 600.0, 3
"""Duration and number of failures without success after which a run aborts."""


class DiskRetry:
    """Failed writes are retried at the next interval; the data stays in memory until then.

    The run aborts after ten minutes and at least three failures without success, or if the run folder
    was deleted.

    Args:
        what: what is written, for the messages; large files may fail where small ones do not.
        notify: prints a line.
        clock: in seconds.

    """

    def __init__(
        self,
        what: str,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.notify, self.clock = what, notify, clock
        self.failures, self.since = 0, 0.0

    def __call__(self, write: Callable[[], object]) -> bool:
        """Call `write`. -> False: it failed, and the run continues.

        Raises:
            StorageError: writes have failed for too long, or the folder was deleted.

        """
        try:
            write()
        except StorageError as error:
            self._count(error)
            return False
        if self.failures:
            self.notify(f"{self.what}: writing works again")
        self.failures = 0
        return True

    def _count(self, error: StorageError) -> None:
        now = self.clock()
        self.since = self.since if self.failures else now
        self.failures += 1
        too_long = self.failures >= FAILURES and now - self.since >= SECONDS
        if too_long or isinstance(error.__cause__, FileNotFoundError):
            raise error
        if self.failures == 1:
            minutes = SECONDS / 60
            self.notify(f"{error.what}; {error.where}")
            self.notify(f"training continues; it ends if this lasts {minutes:.0f} minutes")
