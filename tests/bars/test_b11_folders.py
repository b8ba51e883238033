"""B11: one process at a time trains in a folder; other processes are refused with the pid and host of the owner.

Short form: 4 processes at once, twice. Long form: 16, ten times.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl_cli.cli import train as rl_train
from rl_cli.core.errors import BadInput
from rl_cli.envs.vector import VectorEnv
from rl_cli.storage import folder_lock, run_folder
from rl_cli.storage.folder_lock import FolderLock
from tests.bars.results import report
from tests.conftest import FULL

READ_OWNER = folder_lock._read
STARTS, ROUNDS = (16, 10) if FULL else (4, 2)


def failing_flock(handle, how):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture(params=["flock", "no flock"])
def lock_kind(request, monkeypatch):
    if request.param == "no flock":
        monkeypatch.setattr(fcntl, "flock", failing_flock)


def call_in_processes(number, function):
    """Results of `function` in `number` forked processes that call it at the same time and end together."""
    start_read, start_write = os.pipe()
    result_read, result_write = os.pipe()
    end_read, end_write = os.pipe()
    children = []
    for _ in range(number):
        pid = os.fork()
        if pid == 0:
            os.close(start_write), os.close(end_write)
            os.read(start_read, 1)  # returns when the parent closes its end
            try:
                result = function()
            except BadInput as error:
                result = ["refused", error.exit_code, error.what]
            except BaseException as error:
                result = ["failed", repr(error)]
            os.write(result_write, (json.dumps([os.getpid(), *result]) + "\n").encode())
            os.read(end_read, 1)
            os._exit(0)
        children.append(pid)
    os.close(start_write)
    lines = b""
    while lines.count(b"\n") < number:
        lines += os.read(result_read, 65536)
    os.close(end_write)
    for pid in children:
        os.waitpid(pid, 0)
    for handle in (start_read, result_read, result_write, end_read):
        os.close(handle)
    return [json.loads(line) for line in lines.splitlines()]


def create_run(explicit=None):
    def claim():
        lock = run_folder.create("dqn", "cartpole", 3, explicit)
        claim.lock = lock  # held until the process ends
        return ["locked", str(lock.folder)]

    return claim


def resume_run(folder):
    def claim():
        claim.lock = FolderLock.take(folder)
        return ["locked", str(folder)]

    return claim


def test_concurrent_runs_get_distinct_folders(here, lock_kind):
    for _ in range(ROUNDS):
        results = call_in_processes(STARTS, create_run())
        assert [r[1] for r in results] == ["locked"] * STARTS
        assert len({r[2] for r in results}) == STARTS
    report(11, STARTS * ROUNDS, STARTS * ROUNDS, "distinct folders")


@pytest.mark.parametrize("key", ["run_dir", "resume"])
def test_one_process_gets_the_folder_and_the_others_name_it(here, lock_kind, key):
    for i in range(ROUNDS):
        folder = here / f"run{i}"
        if key == "resume":
            folder.mkdir()
            (folder / "config.yaml").write_text("")
        results = call_in_processes(
            STARTS, create_run(str(folder)) if key == "run_dir" else resume_run(folder)
        )
        owners = [r for r in results if r[1] == "locked"]
        assert len(owners) == 1, results
        for pid, kind, code, what in (r for r in results if r[1] != "locked"):
            assert (kind, code) == ("refused", 2), (pid, what)
            assert f"pid {owners[0][0]} on {socket.gethostname()}" in what
    report(11, ROUNDS, ROUNDS, f"{key} single owners")


def test_lock_of_a_dead_process_is_taken_over_once(here, lock_kind):
    """The owner ends by os._exit without releasing the lock, like a killed process."""
    folder = here / "run"
    folder.mkdir()
    for _ in range(ROUNDS):
        call_in_processes(1, resume_run(folder))
        left = json.loads(next(folder.glob(".lock*")).read_text() or "{}")
        results = call_in_processes(STARTS, resume_run(folder))
        assert sum(r[1] == "locked" for r in results) == 1, (left, results)
    report(11, ROUNDS, ROUNDS, "stale locks taken over")


def test_slow_process_does_not_remove_the_lock_of_a_new_owner(here, monkeypatch):
    """A process reads the entry of a dead owner; another process takes over before the first one acts."""
    monkeypatch.setattr(fcntl, "flock", failing_flock)
    owner = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": "then", "born": 1}
    (here / folder_lock.OWNER).write_text(json.dumps(owner))
    new_owner = []

    def read_late(path):
        before = READ_OWNER(path)
        if not new_owner:
            new_owner.append(living_owner(here))
        assert READ_OWNER(here / folder_lock.OWNER).pid == new_owner[0]
        return before

    monkeypatch.setattr(folder_lock, "_read", read_late)
    with pytest.raises(BadInput, match="another process is at work"):
        FolderLock.take(here)
    assert sorted(p.name for p in here.iterdir()) == [folder_lock.NAME, folder_lock.OWNER]
    os.kill(new_owner[0], signal.SIGKILL)
    os.waitpid(new_owner[0], 0)


def living_owner(folder):
    """The pid of a forked process that has taken the lock and keeps it."""
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        folder_lock._read = READ_OWNER
        kept = FolderLock.take(folder)
        os.write(ready_write, b"1")
        time.sleep(60)
        kept.release()
        os._exit(0)
    os.close(ready_write)
    assert os.read(ready_read, 1) == b"1"
    os.close(ready_read)
    return pid


def test_process_that_died_during_a_takeover_is_replaced(here, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_flock)
    first = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": "then", "born": 1}
    second = {**first, "pid": 2**22 + 2}
    (here / folder_lock.OWNER).write_text(json.dumps(first))
    (here / f"{folder_lock.OWNER}.after.{first['pid']}.1").write_text(json.dumps(second))
    FolderLock.take(here).release()
    assert not list(here.iterdir())


def test_lock_file_of_another_host_is_not_taken_over(here, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_flock)
    (here / folder_lock.OWNER).write_text(
        json.dumps({"pid": 1, "host": "elsewhere", "started": "then", "born": None})
    )
    with pytest.raises(BadInput, match="pid 1 on elsewhere, since then"):
        FolderLock.take(here)


def test_reused_pid_is_recognized(here, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing_flock)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": "then", "born": 1}
    (here / folder_lock.OWNER).write_text(json.dumps(owner))
    FolderLock.take(here).release()
    assert not list(here.iterdir())


def test_released_lock_leaves_no_file_and_is_not_inherited(here, lock_kind):
    lock = FolderLock.take(here)
    with pytest.raises(BadInput, match=f"pid {os.getpid()}"):
        FolderLock.take(here)
    child = subprocess.Popen(["sleep", "5"])  # exec closes the handle
    pid = os.fork()
    if pid == 0:  # a forked child neither holds the lock nor releases it
        lock.release()
        time.sleep(5)
        os._exit(0)
    time.sleep(0.05)
    with pytest.raises(BadInput):
        FolderLock.take(here)
    lock.release()
    assert not list(here.iterdir())
    FolderLock.take(here).release()
    for process in (pid, child.pid):
        os.kill(process, signal.SIGKILL)
    os.waitpid(pid, 0), child.wait()


def test_refused_folder_is_not_modified(here):
    (here / "notes.txt").write_text("keep")
    before = here.stat().st_mtime_ns
    with pytest.raises(BadInput, match="not empty"):
        run_folder.create("dqn", "cartpole", 3, str(here))
    assert here.stat().st_mtime_ns == before


def test_commands_refuse_the_folder_of_a_running_run(here, tiny, capsys, monkeypatch):
    """With run_dir and with resume; after a kill the run can be resumed."""
    args = ["env=cartpole", "hparams=none", *tiny, "total_timesteps=10000000", "run_dir=r"]
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *args], cwd=here)
    deadline = time.monotonic() + 60
    while not any(Path("r/checkpoints").glob("*/manifest.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    monkeypatch.setattr(sys, "argv", ["rl-train"])
    close, closed = VectorEnv.close, []
    monkeypatch.setattr(VectorEnv, "close", lambda envs: closed.append(close(envs)))
    for tries, second in enumerate((args, ["resume=r"]), start=1):
        assert rl_train.run(list(second)) == 2
        assert len(closed) == tries
        err = capsys.readouterr().err
        assert f"pid {process.pid} on {socket.gethostname()}" in err
        assert len(err.splitlines()) == 3
    process.kill(), process.wait()
    assert Path("r/.lock").exists()
    step = max(int(p.name) for p in Path("r/checkpoints").iterdir() if p.name.isdigit())
    assert rl_train.run(["resume=r", f"total_timesteps={step + 200}", "quiet=true"]) == 0
    assert not Path("r/.lock").exists()
    assert json.loads(Path("r/status.json").read_text())["state"] == "completed"
