"""Several runs of a sweep at a time, each in a process of its own.

The processes are forked when everything slow has been imported, so that a run of five seconds does
not spend three on starting; one that is killed takes no other along.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from rl_cli.core import processes


class Pool:
    """At most `size` children; each runs one function, whose value is its exit code.

    Args:
        size: children at a time.
        ended: called with the number given to `start` and the child's exit code, 128 + n where a
            signal ended it.

    """

    def __init__(self, size: int, ended: Callable[[int, int], None]) -> None:
        self.size, self.ended = size, ended
        self.running: dict[int, int] = {}  # process -> number
        self.signum: int | None = None  # heard, and passed on
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        heard = [s for s in signals if signal.getsignal(s) != signal.SIG_IGN]
        self.before = {s: signal.signal(s, self._pass_on) for s in heard}

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        """Children are process groups of their own: they hear every signal once, from here."""
        self.signum = signum
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        raise KeyboardInterrupt

    def start(self, number: int, function: Callable[[], int]) -> None:
        """Run `function` in a child, as soon as there is room."""
        while len(self.running) >= self.size:
            self._wait()
        sys.stdout.flush(), sys.stderr.flush()
        # a signal between the fork and the next line would not be passed on to the child
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, self.before)
        pid = os.fork()
        if pid:
            self.running[pid] = number
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            return
        code = 1
        try:
            os.setpgid(0, 0)
            self._restore_signals()
            processes.end_with_parent(signal.SIGTERM)  # it saves and ends, as if interrupted
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            code = function()
        except BaseException:
            with contextlib.suppress(BaseException):
                traceback.print_exc()
        finally:  # whatever happens, a child never goes on as a second parent
            with contextlib.suppress(BaseException):
                sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)

    def drain(self) -> None:
        """Wait for all, whatever signals come meanwhile: every child saves and ends by itself."""
        while self.running:
            try:
                self._wait()
            except KeyboardInterrupt:
                continue
            except ChildProcessError:  # interrupted right after the last one was seen to end
                break
        self._restore_signals()

    def _restore_signals(self) -> None:
        for signum, handler in self.before.items():
            signal.signal(signum, handler)

    def _wait(self) -> None:
        pid, status = os.wait()
        if pid in self.running:
            code = os.waitstatus_to_exitcode(status)
            self.ended(self.running.pop(pid), code if code >= 0 else 128 - code)
