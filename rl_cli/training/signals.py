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
    """Remembers the first signal; a second one that does not repeat it has its default effect."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        # a signal before training, whose exception code of an env or a library caught
        self.signum: int | None = stop_signals.received()
        self.repeats = stop_signals.Repeats(started=self.signum is not None)

    def __call__(self) -> bool:
        return self.signum is not None

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.repeats.is_repeat(signum):
            return
        if self.signum is None:
            self.signum = signum
            outlive_parent()
            self.monitor.stopping()
        else:
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
