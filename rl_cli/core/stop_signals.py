"""Stop signals before and after training, when no step has to be finished first.

During training `training.signals.Interruption` takes their place.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rl_cli.core import processes
from rl_cli.core.processes import STOP_SIGNALS

SIGHUP = getattr(signal, "SIGHUP", None)
"""The terminal is gone. It may arrive several times: from the kernel, and from the shell."""

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
    processes.outlive_parent()  # first: the end of the parent must not count as a second signal
    _received.append(signum)


def _raise(signum: int, frame: FrameType | None) -> None:
    again = bool(_received)
    record(signum)
    if not (again and signum == SIGHUP):
        raise StopRequest(signum)


@contextmanager
def raising() -> Iterator[None]:
    """In the body a stop signal raises StopRequest, unless it is ignored (nohup ignores SIGHUP)."""
    _received.clear()
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
    if not (signum in _waiting and signum == SIGHUP):
        _waiting.append(signum)


@contextmanager
def collected() -> Iterator[list[int]]:
    """In the body stop signals are appended to the list, for a process that sends them on to its children."""
    _waiting.clear()
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
    for s in STOP_SIGNALS:
        if signal.getsignal(s) == _collect:
            signal.signal(s, _raise)
