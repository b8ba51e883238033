"""Stop signals before and after training, when no step has to be finished first.

During training `training.signals.Interruption` takes their place.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rl_cli.core import processes
from rl_cli.core.processes import STOP_SIGNALS

SIGHUP = getattr(signal, "SIGHUP", None)
"""The terminal is gone."""

REPEAT_SECONDS = 1.0
"""Signals other than SIGINT that arrive so soon after the first are repeats of it."""


class Repeats:
    """Separates a second stop signal, which ends a process at once, from a repeat of the first.

    One cause may send several: the kernel one for each thread of a parent that is killed, a service manager one to
    each process of a group whose parent sends it on, kernel and shell a SIGHUP each. SIGINT is a key that a person
    pressed, and always counts.

    Args:
        started: whether the first signal has arrived.

    """

    def __init__(self, started: bool = False) -> None:
        self.first = time.monotonic() if started else None

    def restart(self) -> None:
        """The next signal is the first."""
        self.first = None

    def is_repeat(self, signum: int) -> bool:
        """Whether this signal repeats an earlier one. To be called at each signal."""
        now = time.monotonic()
        if self.first is None:
            self.first = now
            return False
        if signum == signal.SIGINT:
            return False
        return signum == SIGHUP or now - self.first < REPEAT_SECONDS


_repeats = Repeats()
_received: list[int] = []
_handled: list[int] = []


class StopRequest(KeyboardInterrupt):
    """A stop signal arrived."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def signal_of(error: BaseException | None) -> int:
    """The signal behind a KeyboardInterrupt, or behind an error that it caused in other code."""
    if isinstance(error, StopRequest):
        return error.signum
    return received() or signal.SIGINT


def received() -> int | None:
    """The first stop signal that this process received, also if other code caught the exception."""
    return _received[0] if _received else None


def record(signum: int) -> None:
    """Remember a stop signal. The end of the parent process is not a second one."""
    _received.append(signum)
    processes.outlive_parent()


def _raise(signum: int, frame: FrameType | None) -> None:
    is_repeat = _repeats.is_repeat(signum)
    record(signum)
    if not is_repeat:
        raise StopRequest(signum)


@contextmanager
def raising() -> Iterator[None]:
    """In the body a stop signal raises StopRequest, unless it is ignored (nohup ignores SIGHUP)."""
    _received.clear()
    _repeats.restart()
    handled = [s for s in STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN]
    before = [signal.signal(s, _raise) for s in handled]
    _handled.extend(handled)
    try:
        yield
    finally:
        _handled.clear()
        for s, handler in zip(handled, before, strict=True):
            signal.signal(s, handler)


def is_ignored(signum: int) -> bool:
    """Whether a stop signal was to be ignored when the command began; an env that ignores it does not count."""
    return signum not in _handled and signal.getsignal(signum) == signal.SIG_IGN


_waiting: list[int] = []


def _collect(signum: int, frame: FrameType | None) -> None:
    if not _repeats.is_repeat(signum):
        _waiting.append(signum)


@contextmanager
def collected() -> Iterator[list[int]]:
    """In the body stop signals are appended to the list, for a process that sends them on to its children."""
    _waiting.clear()
    _repeats.restart()
    handled = [s for s in STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN]
    before = [signal.signal(s, _collect) for s in handled]
    try:
        yield _waiting
    finally:
        for s, handler in zip(handled, before, strict=True):
            signal.signal(s, handler)


def raise_again() -> None:
    """In a forked child: stop signals that its parent collects raise StopRequest here."""
    _received.clear()
    _repeats.restart()
    for s in STOP_SIGNALS:
        if signal.getsignal(s) == _collect:
            signal.signal(s, _raise)
