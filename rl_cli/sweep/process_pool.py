"""Several jobs at a time, each in its own process; one that is killed does not affect the others.

`ForkPool` forks after the slow imports, so that a run of five seconds does not import for three more.
`SpawnPool` starts a new interpreter per job, for systems without fork.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, Generic, TypeVar

from rl_cli.core import processes, stop_signals, terminal

T = TypeVar("T")

Ended = Callable[[int, int], None]

POLL_SECONDS = 0.05


class Pool(ABC, Generic[T]):
    """At most `size` child processes, each of which runs one job.

    Args:
        size: child processes at a time.
        ended: called with the number given to `start` and the exit code; 128 + n for signal n.

    Stop signals that the parent receives are sent on to all child processes, and no further job is started.

    """

    def __init__(self, size: int, ended: Ended) -> None:
        self.size, self.ended = size, ended
        self.running: dict[int, int] = {}  # pid -> number
        self.signum: int | None = None  # the first stop signal received
        known = [s for s in processes.STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN]
        self.handlers = {s: signal.signal(s, self._send_on) for s in known}

    def _send_on(self, signum: int, frame: FrameType | None) -> None:
        self.signum = self.signum or signum
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError):
                self._send(pid, signum)

    def _send(self, pid: int, signum: int) -> None:
        os.kill(pid, signum)

    def start(self, number: int, job: T) -> bool:
        """Run a job in a child process as soon as fewer than `size` are running.

        Returns:
            False: a stop signal arrived, and the job was not started.

        """
        while len(self.running) >= self.size:
            self._wait()
        terminal.flush()
        if self.signum is None:
            self._launch(number, job)
        return self.signum is None or number in self.running.values()

    def drain(self) -> None:
        """Wait for all child processes, which end by themselves after a stop signal."""
        while self.running:
            try:
                self._wait()
            except ChildProcessError:  # other code waited for the last one
                break
        self._restore_signals()

    def _restore_signals(self) -> None:
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)

    def _report(self, pid: int, code: int) -> None:
        self.ended(self.running.pop(pid), code if code >= 0 else 128 - code)

    @abstractmethod
    def _launch(self, number: int, job: T) -> None:
        """Start a child process and add it to `running`."""

    @abstractmethod
    def _wait(self) -> None:
        """Wait until at least one child process has ended, and report it."""


class ForkPool(Pool[T]):
    """A pool of forked child processes.

    Args:
        run: called with the job in the child; returns the exit code.

    """

    def __init__(self, size: int, ended: Ended, run: Callable[[T], int]) -> None:
        super().__init__(size, ended)
        self.run = run

    def _launch(self, number: int, job: T) -> None:
        # blocked, because a signal before `running` is updated would not be sent on to the child
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, self.handlers)
        if self.signum is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            return
        pid = os.fork()
        if pid:
            self.running[pid] = number
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            return
        code = 1
        try:
            os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the child through the parent alone
            self._restore_signals()
            processes.end_with_parent(signal.SIGTERM)  # it saves a checkpoint and ends
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            code = self.run(job)
        except KeyboardInterrupt as stop:  # before the job could handle it, or a second signal
            code = 128 + stop_signals.signal_of(stop)
        except BaseException:
            with contextlib.suppress(BaseException):
                terminal.warn_traceback()
        finally:  # in every case: the child must not continue as a second parent
            with contextlib.suppress(BaseException):
                terminal.flush()
            os._exit(code)

    def _wait(self) -> None:
        pid, status = os.wait()
        if pid in self.running:
            self._report(pid, os.waitstatus_to_exitcode(status))


class SpawnPool(Pool[Mapping[str, Any]]):
    """A pool of new processes, which read their job as JSON from standard input.

    Args:
        command: of a process.

    """

    def __init__(self, size: int, ended: Ended, command: Sequence[str]) -> None:
        super().__init__(size, ended)
        self.command = command
        self.children: dict[int, subprocess.Popen[bytes]] = {}

    def _launch(self, number: int, job: Mapping[str, Any]) -> None:
        options: dict[str, Any] = {} if os.name == "nt" else {"process_group": 0}
        child = subprocess.Popen(self.command, stdin=subprocess.PIPE, **options)
        self.children[child.pid], self.running[child.pid] = child, number
        if self.signum is not None:  # it arrived while the process was created
            self._send(child.pid, self.signum)
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:  # it ended; its code tells why
            child.stdin.write(json.dumps(job).encode())

    def _send(self, pid: int, signum: int) -> None:
        if os.name != "nt":
            self.children[pid].send_signal(signum)
        elif signum != signal.SIGINT:  # on Windows the console sends Ctrl-C to the children itself
            self.children[pid].terminate()

    def _wait(self) -> None:
        while True:
            ended = [
                (pid, c) for pid in self.running if (c := self.children[pid].poll()) is not None
            ]
            for pid, code in ended:
                self._report(pid, code)
            if ended:
                return
            time.sleep(POLL_SECONDS)
