"""How long a run goes on without its disk."""

from __future__ import annotations

import time
from collections.abc import Callable

from rl_cli.core.errors import StorageError

SECONDS, FAILURES = 600.0, 3


class Patience:
    """A disk that is full for a while need not end a run: nothing is lost that waits in memory.

    It ends when writing has failed for ten minutes and three times or more without a success, or
    when the run's folder is gone.

    Args:
        what: is written, in words; large files may fail where small ones do not.
        note: shows a line.
        clock: in seconds.

    """

    def __init__(
        self,
        what: str,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.note, self.clock = what, note, clock
        self.failures, self.since = 0, 0.0

    def __call__(self, write: Callable[[], object]) -> bool:
        """Write something; False: it failed, and the run goes on.

        Raises:
            StorageError: that has lasted too long, or will not get better.

        """
        try:
            write()
        except StorageError as error:
            self._bear(error)
            return False
        if self.failures:
            self.note(f"{self.what} are written again")
        self.failures = 0
        return True

    def _bear(self, error: StorageError) -> None:
        now = self.clock()
        self.since = self.since if self.failures else now
        self.failures += 1
        lasted = self.failures >= FAILURES and now - self.since >= SECONDS
        if lasted or isinstance(error.__cause__, FileNotFoundError):
            raise error
        if self.failures == 1:
            self.note(f"{error.what}; {error.where}")
            self.note(f"training goes on, and ends if that lasts {SECONDS / 60:.0f} minutes")
