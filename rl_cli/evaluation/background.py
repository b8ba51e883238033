"""Runs a task in a forked child process, on a snapshot of this process.

A video shows the policy of one step. A forked child process keeps a copy of it (copy-on-write) while training
continues; if the child dies or hangs, the run continues. Where processes cannot be forked, the task
runs in this process and training waits.
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
from rl_cli.core.errors import first_line
from rl_cli.core.running_time import RunningTime

KeepGoing = Callable[[], bool]
"""Returns False if the task should end early. A task calls it at least every few seconds."""

Task = Callable[[KeepGoing], "str | None"]
"""Returns why the task failed, in one line; None: it succeeded."""

POLL_SECONDS = 0.1
"""Seconds between two checks for an interruption, and between two heartbeats of the child."""

HEARTBEAT, RESULT, STOP = b".", b"a", b"s"


class Background:
    """One task at a time.

    Args:
        in_child: run tasks in a forked child process; false: in this one, while the caller waits.
        interrupted: whether a stop signal arrived.
        timeout: seconds without a heartbeat after which a child is killed; 0: never.

    """

    def __init__(
        self, in_child: bool, interrupted: Callable[[], bool], timeout: float = 0.0
    ) -> None:
        is_daemon = multiprocessing.current_process().daemon  # may not have children
        can_fork = processes.can_fork() and processes.in_main_thread() and not is_daemon
        self.in_child = in_child and can_fork
        self.interrupted, self.timeout = interrupted, timeout
        self.process: Any = None
        self.pipe: Connection | None = None
        self.problem: str | None = None

    def start(self, task: Task) -> None:
        """Start a task. Call `wait` or `drop` for the previous one first."""
        if self.in_child:
            try:
                self.process, self.pipe = processes.fork(lambda pipe: _run_task(task, pipe))
                return
            except OSError:
                self.in_child = False  # out of memory or processes
        self.problem = task(lambda: not self.interrupted())

    def wait(self) -> str | None:
        """Wait for the task, if one was started. -> why it failed; None: it succeeded."""
        if self.pipe is not None:
            self.problem = self._result(self.pipe)
            self._end()
        problem, self.problem = self.problem, None
        return problem or None

    def drop(self) -> None:
        """Kill the task and discard its result."""
        if self.process is not None:
            self.process.kill()
            self._end()
        self.problem = None

    def _end(self) -> None:
        processes.end(self.process)
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None

    def _result(self, pipe: Connection) -> str:
        """Wait for the child's result, and send it STOP on an interruption. -> why it failed, or empty."""
        stop_sent, silent = False, RunningTime(2 * POLL_SECONDS)
        try:
            while True:
                if pipe.poll(POLL_SECONDS):
                    message = pipe.recv_bytes()
                    silent.restart()
                    if message[:1] == RESULT:
                        return message[1:].decode()
                elif self.timeout and silent.advance() > self.timeout:
                    self.process.kill()
                    return f"the renderer has not responded for {self.timeout:g} s"
                if self.interrupted() and not stop_sent:
                    stop_sent = True
                    with contextlib.suppress(OSError):  # the child has just ended
                        pipe.send_bytes(STOP)
        except (EOFError, OSError):
            return f"the process {processes.how_it_ended(self.process)}"


def _run_task(task: Task, pipe: Connection) -> None:
    """In the child: run the task, and send its result."""
    torch.set_num_threads(1)  # OpenMP's worker threads were not copied by the fork
    # The live view's lock may have been held at the fork: a print would block forever.
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    last_heartbeat = time.monotonic()

    def keep_going() -> bool:
        nonlocal last_heartbeat
        if time.monotonic() - last_heartbeat > POLL_SECONDS:
            last_heartbeat = time.monotonic()
            pipe.send_bytes(HEARTBEAT)
        return not pipe.poll()  # STOP is the only message of the parent

    try:
        problem = task(keep_going)
    except BaseException as error:
        problem = f"{type(error).__name__}: {first_line(error)}"
    pipe.send_bytes(RESULT + (problem or "").encode())
