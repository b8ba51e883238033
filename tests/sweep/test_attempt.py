"""Attempts at a job of a cluster: what the record says after each end, and what the next attempt knows."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from rl_cli.storage.folder_lock import FolderLock
from rl_cli.sweep import attempt
from rl_cli.sweep.attempt import Attempt

READ = "import json, os, signal, sys, time; task = json.load(sys.stdin)\n"
WRITE = """
def end(code, state, reason):
    json.dump(task["record"] | {"exit_code": code, "state": state, "reason": reason}, open(task["path"], "w"))
    sys.exit(code)
"""
SAVES = """
def save(signum, frame): end(143, "interrupted", "SIGTERM")
signal.signal(signal.SIGTERM, save)
open("ready", "w").close()
time.sleep(30)
"""


@pytest.fixture
def child(monkeypatch):
    """Replace the process of the run by a script."""

    def use(script):
        command = (sys.executable, "-S", "-c", READ + WRITE + script)
        monkeypatch.setattr(attempt, "COMMAND", command)

    return use


@pytest.fixture
def task(here):
    record = {
        "overrides": [],
        "labels": ["dqn", "cartpole"],
        "seed": 0,
        "run_dir": "r",
        "earlier": [],
    }
    (here / "job_0000.json").write_text(
        json.dumps(record | {"state": "running", "reason": "did not end"})
    )
    return {
        "record": record,
        "path": str(here / "job_0000.json"),
        "folder": "r",
        "start": str(here),
    }


def record_of(task):
    return json.loads(Path(task["path"]).read_text())


def ready(folder):
    deadline = time.monotonic() + 20
    while not (folder / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_attempts_of_a_job_add_up_until_one_completes(child, task):
    """Killed, saved on a signal, lost with its machine, complete: then it is not started again."""
    child("os.kill(os.getpid(), signal.SIGKILL)")
    assert Attempt(task, "first").run() == 137
    record = record_of(task)
    assert (record["state"], record["exit_code"], record["where"]) == ("failed", 137, "first")
    assert record["reason"].startswith("killed by SIGKILL")

    child("end(143, 'interrupted', 'SIGTERM')")
    assert Attempt(task, "second").run() == 143
    Path(task["path"]).write_text(
        json.dumps(record_of(task) | {"state": "running"})
    )  # its machine is lost

    child("end(0, 'completed', 'budget')")
    assert Attempt(task, "third").run() == 0
    record = record_of(task)
    assert (record["state"], record["where"]) == ("completed", "third")
    ends = [(one["state"], one["reason"][:16]) for one in record["earlier"]]
    assert ends == [("failed", "killed by SIGKIL"), ("failed", "lost: second")]

    child("sys.exit(9)")
    assert Attempt(task, "fourth").run() == 0
    assert record_of(task) == record


def test_warning_signal_reaches_the_run_only_through_stop(child, task, here):
    """Slurm sends SIGUSR2 to every process of a job. `stop` may be called while `run` waits."""
    child(SAVES)
    one, codes = Attempt(task, "w"), []

    def warn(*_):
        os.kill(one.child.pid, signal.SIGUSR2)
        one.stop()
        one.add_reason("requeued")
        raise TimeoutError

    before = signal.signal(signal.SIGUSR2, warn)
    sender = threading.Thread(target=lambda: (ready(here), os.kill(os.getpid(), signal.SIGUSR2)))
    sender.start()
    try:
        with pytest.raises(TimeoutError):
            codes.append(one.run())
    finally:
        signal.signal(signal.SIGUSR2, before)
        sender.join()
    assert codes == []
    record = record_of(task)
    assert (record["state"], record["reason"]) == ("interrupted", "SIGTERM; requeued")


def test_next_attempt_waits_until_the_last_one_has_saved(child, task, here, monkeypatch):
    (here / "r").mkdir()
    lock = FolderLock.take(here / "r")
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if seconds == 1.0:
            lock.release()

    monkeypatch.setattr(attempt.FolderLock, "take", refusing(lock))
    monkeypatch.setattr(attempt.time, "sleep", pause)
    child("end(0, 'completed', 'budget')")
    assert Attempt(task, "w").run() == 0
    assert pauses[0] == 1.0


def refusing(lock):
    """`FolderLock.take` of another process: refused while the lock is held."""
    from rl_cli.core.errors import BadInput

    class Taken:
        def release(self): ...

    def take(folder):
        if lock.lock.is_locked:
            raise BadInput("another process is using this folder", str(folder), "wait")
        return Taken()

    return take
