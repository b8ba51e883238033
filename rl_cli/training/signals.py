"""Signals that ask a run to stop: the first is remembered, the second obeyed at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rl_cli.core.processes import STOP_SIGNALS
from rl_cli.tracking.console import Monitor


class Interruption:
    """Remembers the first signal; the second ends the process at once, as it would have before."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.signum: int | None = None

    def __call__(self) -> bool:
        return self.signum is not None

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            handler = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
            signal.signal(signum, handler)
            signal.raise_signal(signum)
        self.signum = signum
        self.monitor.stopping()

    @contextmanager
    def listening(self) -> Iterator[None]:
        heard = [
            s for s in STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN
        ]  # nohup's stays ignored
        before = [signal.signal(s, self.handle) for s in heard]
        try:
            yield
        finally:
            for s, handler in zip(heard, before, strict=True):
                signal.signal(s, handler)
