"""Signals that stop a run: the first lets it save a checkpoint, the second ends the process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rl_cli.core import stop_signals
from rl_cli.core.processes import STOP_SIGNALS, in_main_thread, outlive_parent
from rl_cli.tracking.console import Monitor


class Interruption:
    """Remembers the first signal; a second one has its default effect.

    Except SIGHUP: a terminal that is lost sends it several times, also after another signal, and the checkpoint
    is still to be saved.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        # a signal before training, whose exception code of an env or a library caught
        self.signum: int | None = stop_signals.received()

    def __call__(self) -> bool:
        return self.signum is not None

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            outlive_parent()  # first: the end of the parent must not count as a second signal
            self.signum = signum
            self.monitor.stopping()
        elif signum != stop_signals.SIGHUP:
            handler = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, handler)
            signal.raise_signal(signum)

    @contextmanager
    def listening(self) -> Iterator[None]:
        if not in_main_thread():  # there, signals are the program's own
            yield
            return
        # nohup ignores SIGHUP: leave that
        handled = [s for s in STOP_SIGNALS if not stop_signals.is_ignored(s)]
        before = [signal.signal(s, self.handle) for s in handled]
        try:
            yield
        finally:
            for s, handler in zip(handled, before, strict=True):
                signal.signal(s, handler)
