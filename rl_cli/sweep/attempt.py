"""One attempt at a job on a machine of a cluster: the run in a child process, which this process watches.

A cluster may start a job again: after a preemption, a lost machine, a time limit. Each start is an
attempt, which continues from the last checkpoint. This process imports no torch; it passes on that the job
must end, and writes the record if the run's process was killed before it could.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rl_cli.core import processes
from rl_cli.core.errors import RunError
from rl_cli.storage.atomic_files import write_json
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.sweep import records, run_job
from rl_cli.sweep.executor import Ended
from rl_cli.sweep.job import RUNNING
from rl_cli.sweep.records import Record

COMMAND = (sys.executable, "-m", run_job.__name__)
"""The child process, which reads its task from standard input."""

POLL_SECONDS = 0.1

LOCK_SECONDS = 60.0
"""How long to wait for the process of an earlier attempt, which may still be saving."""

UNSENT = getattr(signal, "SIGUSR2", None)
"""Slurm sends its warning signal to all processes of a job; this one alone acts on it."""


class Attempt:
    """Runs a task, unless an earlier attempt has completed it.

    Args:
        task: as plain values (`Task.plain`).
        where: the job of the cluster and the machine, for the record.

    """

    def __init__(self, task: Mapping[str, Any], where: str) -> None:
        self.task, self.where = task, where
        self.path = Path(task["path"])
        self.child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run until the child process has ended. -> its exit code; 128 + n if signal n killed it.

        An exception that a signal handler of the caller raises leaves the child as it is.
        """
        record = records.load(self.path)
        if record.get("state") == "completed":
            return 0
        _wait_until_free(Path(self.task["start"], self.task["folder"]))
        known = {**self.task["record"], "earlier": _earlier(record), "where": self.where}
        self.write({**known, "state": RUNNING, "reason": "did not end"})
        code = self._train({**self.task, "record": known})
        record = records.load(self.path)
        if record.get("state") == RUNNING:  # it ended before it wrote the record
            self.write(record | Ended(0, code).as_record())
        return code

    def stop(self) -> None:
        """Have the run save a checkpoint and end, and wait for that."""
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child.pid, signal.SIGTERM)
            _wait(self.child)

    def add_reason(self, text: str) -> None:
        """Add to the reason in the record of a run that has ended."""
        record = records.load(self.path)
        if record:
            self.write(record | {"reason": f"{record['reason']}; {text}"})

    def write(self, record: Record) -> None:
        """Write the record. A disk that is full must not end the run."""
        with contextlib.suppress(RunError):
            write_json(self.path, record)

    def _train(self, task: Mapping[str, Any]) -> int:
        self.child = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            cwd=task["start"],
            process_group=0,
            preexec_fn=partial(_prepare, os.getpid()),
        )
        assert self.child.stdin is not None
        with (
            contextlib.suppress(BrokenPipeError),
            self.child.stdin,
        ):  # it ended; its exit code says why
            self.child.stdin.write(json.dumps(task).encode())
        return _wait(self.child)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """The exit code of a child process.

    By `waitpid`, because `stop` may be called in a signal handler while `run` waits: `Popen.wait` holds a
    lock.
    """
    code = None
    while code is None:
        try:
            done, status = os.waitpid(child.pid, os.WNOHANG)
        except ChildProcessError:  # the other of the two waited for it
            code = 1
        else:
            code = os.waitstatus_to_exitcode(status) if done else None
        if code is None:
            time.sleep(POLL_SECONDS)
    child.poll()  # it notices that the process has ended
    return code if code >= 0 else 128 - code


def _earlier(record: Record) -> list[Record]:
    """How earlier attempts ended, given the record on disk when another one starts."""
    earlier: list[Record] = record.get("earlier", [])
    if not record.get("where"):  # the first attempt
        return earlier
    last = {k: record.get(k) for k in ("run_dir", "state", "reason", "exit_code")}
    if record["state"] == RUNNING:
        last |= {"state": "failed", "reason": f"lost: {record['where']}"}
    return [*earlier, last]


def _wait_until_free(folder: Path) -> None:
    """Wait for the process of an earlier attempt; the run itself refuses a folder that stays in use."""
    deadline = time.monotonic() + LOCK_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        try:
            FolderLock.take(folder).release()
            return
        except RunError:
            time.sleep(1.0)


def _prepare(parent: int) -> None:
    """In the child process, before its program starts."""
    if UNSENT is not None:
        signal.signal(UNSENT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, processes.STOP_SIGNALS)
    processes.end_with_parent(signal.SIGTERM, parent)
