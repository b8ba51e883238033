"""Something done beside the run, by a copy of it: it sees what was there when it began.

A film needs the policy of one moment. A forked process has that, whatever is learned meanwhile, shares
its memory, may have a processor of its own, and takes the run nowhere when it dies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.connection import Connection
from typing import Any

from rl_cli import children

Interrupted = Callable[[], bool]
Task = Callable[[Interrupted], "str | None"]
"""Told when to come to an end; returns what kept it from being done, in a line."""
LOOKS = 0.1  # seconds between two looks at whether the run is interrupted


class Background:
    """One task at a time.

    Args:
        beside: in a process of its own; else at once, while the run waits.
        interrupted: whether the run is to end.
        guarded: put around a task in its own process, where nothing is that the run has around itself.

    """

    def __init__(
        self,
        beside: bool,
        interrupted: Interrupted,
        guarded: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.beside, self.interrupted = beside and sys.platform == "linux", interrupted
        self.guarded = guarded
        self.process: Any = None
        self.pipe: Connection | None = None
        self.problem: str | None = None

    def begin(self, task: Task) -> None:
        """Begin a task; the one before has been waited for."""

        def act(pipe: Connection) -> None:
            with self.guarded():
                problem = task(pipe.poll)  # whatever is said to it means: stop
            pipe.send_bytes((problem or "").encode())

        if self.beside:
            try:
                self.process, self.pipe = children.fork(act)
                return
            except OSError:
                self.beside = False  # no room for a process
        self.problem = task(self.interrupted)

    def wait(self) -> str | None:
        """Wait for the task that was begun, if there is one. -> what kept it from being done."""
        if self.pipe is not None:
            self.problem = self._answer(self.pipe)
            children.end(self.process)
            self.pipe.close()
            self.process = self.pipe = None
        problem, self.problem = self.problem, None
        return problem or None

    def drop(self) -> None:
        """End at once what is being done."""
        if self.process is not None:
            self.process.kill()

    def _answer(self, pipe: Connection) -> str:
        told = False
        try:
            while not pipe.poll(LOOKS):
                if self.interrupted() and not told:
                    pipe.send_bytes(b"stop")
                    told = True
            return pipe.recv_bytes().decode()
        except (EOFError, OSError):
            return f"the process {children.how_it_ended(self.process)}"
