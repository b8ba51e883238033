"""Jobs in child processes on this machine; one that is killed does not affect the others.

`ForkExecutor` forks after the slow imports, so that a run of five seconds does not import for three more.
`SpawnExecutor` starts a new interpreter per job, for systems without fork.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from rl_cli.core import processes, stop_signals, terminal
from rl_cli.sweep import run_job
from rl_cli.sweep.executor import Ended, Executor, Wanted
from rl_cli.sweep.task import Task

POLL_SECONDS = (0.002, 0.05)
"""The first and the longest pause between two looks at the child processes."""

DEVICES = "CUDA_VISIBLE_DEVICES"


def make(wanted: Wanted) -> LocalExecutor:
    """The executor of this machine."""
    if processes.can_fork():
        run_job.import_modules(wanted.tensorboard)
        return ForkExecutor(wanted.jobs, run_job.run, wanted.gpus)
    return SpawnExecutor(wanted.jobs, [sys.executable, "-m", run_job.__name__], wanted.gpus)


class LocalExecutor(Executor):
    """At most `size` child processes, each of which runs one task.

    Args:
        size: child processes at a time.
        gpus: a task gets the one that the fewest running tasks have, the first of several.

    """

    def __init__(self, size: int, gpus: Sequence[str] = ()) -> None:
        self.size = self.side_by_side = size
        self.gpus = gpus
        self.running: dict[int, int] = {}  # number -> pid
        self.on: dict[int, str] = {}  # number -> its GPU

    def free(self) -> int:
        return self.size - len(self.running)

    def start(self, number: int, task: Task) -> None:
        environment = dict(task.environment)
        if self.gpus:
            used = [self.on[n] for n in self.running]
            environment[DEVICES] = self.on[number] = min(self.gpus, key=used.count)
        terminal.flush()
        self._launch(number, task, environment)

    def wait(self, seconds: float) -> list[Ended]:
        deadline, pause = time.monotonic() + seconds, POLL_SECONDS[0]
        while True:
            codes = {number: self._poll(pid) for number, pid in self.running.items()}
            ended = [
                Ended(number, code if code >= 0 else 128 - code)
                for number, code in codes.items()
                if code is not None
            ]
            for end in ended:
                del self.running[end.number]
            left = deadline - time.monotonic()
            if ended or left <= 0 or not self.running:
                return ended
            time.sleep(min(pause, left))
            pause = min(2 * pause, POLL_SECONDS[1])

    @abstractmethod
    def _launch(self, number: int, task: Task, environment: dict[str, str]) -> None:
        """Start a child process and add it to `running`."""

    @abstractmethod
    def _poll(self, pid: int) -> int | None:
        """The exit code of a child process, -n after signal n; None: it runs."""


class ForkExecutor(LocalExecutor):
    """Forked child processes.

    Args:
        size, gpus: as of LocalExecutor.
        run: called with the task in the child; returns the exit code.

    """

    def __init__(self, size: int, run: Callable[[Task], int], gpus: Sequence[str] = ()) -> None:
        super().__init__(size, gpus)
        self.run = run

    def _launch(self, number: int, task: Task, environment: dict[str, str]) -> None:
        parent = os.getpid()
        # blocked, because the child would lose a signal before it has handlers of its own
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, processes.STOP_SIGNALS)
        try:
            pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            raise
        if pid:
            self.running[number] = pid
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            return
        code = 1
        try:
            os.setpgid(0, 0)  # a terminal's Ctrl-C reaches the child through the parent alone
            stop_signals.raise_again()
            processes.end_with_parent(signal.SIGTERM, parent)  # it saves a checkpoint and ends
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            os.environ.update(environment)
            terminal.to_file(task.output)
            code = self.run(task)
        except KeyboardInterrupt as stop:  # before the job could handle it, or a second signal
            code = 128 + stop_signals.signal_of(stop)
        except BaseException:
            with contextlib.suppress(BaseException):
                terminal.warn_traceback()
        finally:  # in every case: the child must not continue as a second parent
            with contextlib.suppress(BaseException):
                terminal.flush()
            os._exit(code)

    def _poll(self, pid: int) -> int | None:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # other code waited for it
            return 1
        return os.waitstatus_to_exitcode(status) if done else None

    def send(self, number: int, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError, KeyError):
            os.kill(self.running[number], signum)


class SpawnExecutor(LocalExecutor):
    """New processes, which read their task as JSON from standard input.

    Args:
        size, gpus: as of LocalExecutor.
        command: of a process.

    """

    def __init__(self, size: int, command: Sequence[str], gpus: Sequence[str] = ()) -> None:
        super().__init__(size, gpus)
        self.command = command
        self.children: dict[int, subprocess.Popen[bytes]] = {}

    def _launch(self, number: int, task: Task, environment: dict[str, str]) -> None:
        options: dict[str, Any] = {} if os.name == "nt" else {"process_group": 0}
        options["env"] = {**os.environ, **environment}
        child = subprocess.Popen(self.command, stdin=subprocess.PIPE, **options)
        self.children[child.pid], self.running[number] = child, child.pid
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:  # it ended; its exit code says why
            child.stdin.write(json.dumps(task.plain()).encode())

    def _poll(self, pid: int) -> int | None:
        code = self.children[pid].poll()
        if code is not None:
            del self.children[pid]
        return code

    def send(self, number: int, signum: int) -> None:
        child = self.children.get(self.running.get(number, -1))
        if child is None:
            return
        if os.name != "nt":
            child.send_signal(signum)
        elif signum != signal.SIGINT:  # on Windows the console sends Ctrl-C to the children itself
            child.terminate()
