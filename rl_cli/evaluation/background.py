"""Something done beside the run, by a copy of it: it sees what was there when it began.

A film needs the policy of one moment. A forked process has that, whatever is learned meanwhile, shares
its memory, may have a processor of its own, and takes the run nowhere when it dies or hangs.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from rl_cli.core import processes

Alive = Callable[[], bool]

Task = Callable[[Alive], "str | None"]
"""Asks now and then whether it is to go on; returns what kept it from being done, in a line."""

LOOKS = 0.1  # seconds between two looks at whether the run is interrupted, or two signs of life

SIGN, ANSWER, STOP = b".", b"a", b"s"


class Background:
    """One task at a time.

    Args:
        beside: in a process of its own; else at once, while the run waits.
        interrupted: whether the run is to end.
        timeout: seconds after which a task that gives no sign of life is ended; 0: never.

    """

    def __init__(self, beside: bool, interrupted: Callable[[], bool], timeout: float = 0.0) -> None:
        alone = multiprocessing.current_process().daemon  # and may have no children
        self.beside = beside and processes.can_fork() and not alone
        self.interrupted, self.timeout = interrupted, timeout
        self.process: Any = None
        self.pipe: Connection | None = None
        self.problem: str | None = None

    def begin(self, task: Task) -> None:
        """Begin a task; the one before has been waited for."""
        if self.beside:
            try:
                self.process, self.pipe = processes.fork(lambda pipe: _carry_out(task, pipe))
                return
            except OSError:
                self.beside = False  # no room for a process
        self.problem = task(lambda: not self.interrupted())

    def wait(self) -> str | None:
        """Wait for the task that was begun, if there is one. -> what kept it from being done."""
        if self.pipe is not None:
            self.problem = self._answer(self.pipe)
            self._end()
        problem, self.problem = self.problem, None
        return problem or None

    def drop(self) -> None:
        """End at once what is being done, and forget it."""
        if self.process is not None:
            self.process.kill()
            self._end()
        self.problem = None

    def _end(self) -> None:
        processes.end(self.process)
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def _answer(self, pipe: Connection) -> str:
        told, heard = False, time.monotonic()
        try:
            while True:
                if pipe.poll(LOOKS):
                    message, heard = pipe.recv_bytes(), time.monotonic()
                    if message[:1] == ANSWER:
                        return message[1:].decode()
                elif self.timeout and time.monotonic() - heard > self.timeout:
                    self.process.kill()
                    return f"the renderer has not answered for {self.timeout:g} s"
                if self.interrupted() and not told:
                    told = True
                    with contextlib.suppress(OSError):  # it is done just now
                        pipe.send_bytes(STOP)
        except (EOFError, OSError):
            return f"the process {processes.how_it_ended(self.process)}"


def _carry_out(task: Task, pipe: Connection) -> None:
    """In the copy: do the task, and say how it went."""
    torch.set_num_threads(1)  # OpenMP's others have stayed behind
    nowhere = open(os.devnull, "w")  # noqa: SIM115  the live view's lock may have come along, held
    sys.stdout = sys.stderr = nowhere
    signed = time.monotonic()

    def alive() -> bool:
        nonlocal signed
        if time.monotonic() - signed > LOOKS:
            signed = time.monotonic()
            pipe.send_bytes(SIGN)
        return not pipe.poll()  # whatever is said means: stop

    try:
        problem = task(alive)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    pipe.send_bytes(ANSWER + (problem or "").encode())
