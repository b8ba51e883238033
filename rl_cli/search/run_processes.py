"""Runs of trials on an executor: started, polled without waiting, and stopped one by one."""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections.abc import Callable
from pathlib import Path

from rl_cli.core import stop_signals, terminal
from rl_cli.sweep.executor import Ended, Executor
from rl_cli.sweep.output import Output
from rl_cli.sweep.task import Task
from rl_cli.tracking.console import STOPPING

WAIT_SECONDS = 0.5


class RunProcesses:
    """Processes, each of which trains one run. A context manager: stop signals are sent on to all of them.

    Args:
        make: the executor; called when the first run starts, because it imports torch.

    """

    def __init__(self, make: Callable[[], Executor]) -> None:
        self.make = make
        self.executor: Executor | None = None
        self.numbers = itertools.count()
        self.running: dict[int, Output] = {}
        self.signals: list[int] = []
        self.sent = 0  # of the signals
        self.asked: set[int] = (
            set()
        )  # runs to end; a second signal would end them without a checkpoint
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> RunProcesses:
        self.signals = self.stack.enter_context(stop_signals.collected())
        self.stack.callback(self._end)
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    @property
    def signum(self) -> int | None:
        """The first stop signal that arrived."""
        return self.signals[0] if self.signals else None

    @property
    def side_by_side(self) -> int:
        """Runs at a time on one machine."""
        return self._made().side_by_side

    def _made(self) -> Executor:
        if self.executor is None:
            self.executor = self.make()
        return self.executor

    def start(self, task: Task) -> int | None:
        """Start a run. -> its number; None: there is no free process, or a stop signal arrived."""
        if self.signals or self._made().free() < 1:
            return None
        number = next(self.numbers)
        self.running[number] = Output(Path(task.output))
        try:
            self._made().start(number, task)
        except OSError:
            del self.running[number]
            return None
        return number

    def poll(self) -> dict[int, Ended]:
        """The runs that ended since the last call, by number."""
        return self._wait(0.0)

    def _wait(self, seconds: float) -> dict[int, Ended]:
        if self.executor is None:
            return {}
        for signum in self.signals[self.sent :]:
            self.sent += 1
            for number in self.running:
                if self.sent > 1 or number not in self.asked:  # the user's second one is meant so
                    self.executor.send(number, signum)
                self.asked.add(number)
        ended = {end.number: end for end in self.executor.wait(seconds)}
        for number in ended:
            lines = self.running.pop(number).finish()
            terminal.warn(*(line for line in lines if line != STOPPING))
        return ended

    def stop(self, number: int) -> None:
        """Signal a run to save a checkpoint and end."""
        if self.executor is not None and number in self.running and number not in self.asked:
            self.asked.add(number)
            self.executor.send(number, signal.SIGTERM)

    def _end(self) -> None:
        """Wait for all runs, which end by themselves after a stop signal."""
        for number in self.running:
            self.stop(number)
        while self.running:
            self._wait(WAIT_SECONDS)
        if self.executor is not None:
            self.executor.close()
