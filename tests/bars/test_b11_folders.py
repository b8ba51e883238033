"""B11: of several processes one trains in a folder; the others are told who.

Quick: 4 starts at once. Full (RL_CLI_BARS=full): 16, ten times over.
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

READ = folder_lock._read
STARTS, ROUNDS = (16, 10) if FULL else (4, 2)


def no_flock(handle, how):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture(params=["flock", "no flock"])
def kernel(request, monkeypatch):
    if request.param == "no flock":
        monkeypatch.setattr(fcntl, "flock", no_flock)


def at_once(number, function):
    """What `number` forked processes say that call `function` together and end together."""
    go_read, go = os.pipe()
    said_read, said = os.pipe()
    end_read, end = os.pipe()
    children = []
    for _ in range(number):
        pid = os.fork()
        if pid == 0:
            os.close(go), os.close(end)
            os.read(go_read, 1)  # until the parent closes its end
            try:
                told = function()
            except BadInput as error:
                told = ["refused", error.exit_code, error.what]
            except BaseException as error:
                told = ["broken", repr(error)]
            os.write(said, (json.dumps([os.getpid(), *told]) + "\n").encode())
            os.read(end_read, 1)
            os._exit(0)
        children.append(pid)
    os.close(go)
    lines = b""
    while lines.count(b"\n") < number:
        lines += os.read(said_read, 65536)
    os.close(end)
    for pid in children:
        os.waitpid(pid, 0)
    for handle in (go_read, said_read, said, end_read):
        os.close(handle)
    return [json.loads(line) for line in lines.splitlines()]


def start(explicit=None):
    def claim():
        lock = run_folder.create("dqn", "cartpole", 3, explicit)
        claim.lock = lock  # held to the end
        return ["won", str(lock.folder)]

    return claim


def go_on(folder):
    def claim():
        claim.lock = FolderLock.take(folder)
        return ["won", str(folder)]

    return claim


def test_as_many_folders_as_starts(here, kernel):
    for _ in range(ROUNDS):
        told = at_once(STARTS, start())
        assert [t[1] for t in told] == ["won"] * STARTS
        assert len({t[2] for t in told}) == STARTS
    report(11, STARTS * ROUNDS, STARTS * ROUNDS, "distinct folders")


@pytest.mark.parametrize("way", ["run_dir", "resume"])
def test_one_start_wins_a_folder_and_the_others_name_it(here, kernel, way):
    for i in range(ROUNDS):
        folder = here / f"run{i}"
        if way == "resume":
            folder.mkdir()
            (folder / "config.yaml").write_text("")
        told = at_once(STARTS, start(str(folder)) if way == "run_dir" else go_on(folder))
        winners = [t for t in told if t[1] == "won"]
        assert len(winners) == 1, told
        for pid, kind, code, what in (t for t in told if t[1] != "won"):
            assert (kind, code) == ("refused", 2), (pid, what)
            assert f"pid {winners[0][0]} on {socket.gethostname()}" in what
    report(11, ROUNDS, ROUNDS, f"{way} single winners")


def test_the_lock_of_a_dead_process_is_taken_over_by_one(here, kernel):
    """Nobody let go: the children end by os._exit, as a kill would end them."""
    folder = here / "run"
    folder.mkdir()
    for _ in range(ROUNDS):
        at_once(1, go_on(folder))
        left = json.loads(next(folder.glob(".lock*")).read_text() or "{}")
        told = at_once(STARTS, go_on(folder))
        assert sum(t[1] == "won" for t in told) == 1, (left, told)
    report(11, ROUNDS, ROUNDS, "stale locks taken over")


def test_a_late_finder_of_a_dead_lock_never_moves_its_successors(here, monkeypatch):
    """Found by this bar under load: one who had read the dead owner before another succeeded it
    took the successor's lock away to look at it, and a third came into the empty place."""
    monkeypatch.setattr(fcntl, "flock", no_flock)
    owner = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": "then", "born": 1}
    (here / folder_lock.OWNER).write_text(json.dumps(owner))
    successor = []

    def read_late(path):
        before = READ(path)
        if not successor:
            successor.append(living_holder(here))
        assert READ(here / folder_lock.OWNER).pid == successor[0]
        return before

    monkeypatch.setattr(folder_lock, "_read", read_late)
    with pytest.raises(BadInput, match="another process is at work"):
        FolderLock.take(here)
    assert sorted(p.name for p in here.iterdir()) == [folder_lock.NAME, folder_lock.OWNER]
    os.kill(successor[0], signal.SIGKILL)
    os.waitpid(successor[0], 0)


def living_holder(folder):
    """The pid of a forked process that has taken the lock and keeps it."""
    told_read, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        folder_lock._read = READ
        kept = FolderLock.take(folder)
        os.write(told, b"1")
        time.sleep(60)
        kept.release()
        os._exit(0)
    os.close(told)
    assert os.read(told_read, 1) == b"1"
    os.close(told_read)
    return pid


def test_one_who_dies_while_succeeding_a_dead_lock_is_succeeded_too(here, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_flock)
    first = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": "then", "born": 1}
    second = {**first, "pid": 2**22 + 2}
    (here / folder_lock.OWNER).write_text(json.dumps(first))
    (here / f"{folder_lock.OWNER}.after.{first['pid']}.1").write_text(json.dumps(second))
    FolderLock.take(here).release()
    assert not list(here.iterdir())


def test_a_lock_of_another_host_is_not_taken_over_where_only_its_file_says_so(here, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_flock)
    (here / folder_lock.OWNER).write_text(
        json.dumps({"pid": 1, "host": "elsewhere", "started": "then", "born": None})
    )
    with pytest.raises(BadInput, match="pid 1 on elsewhere, since then"):
        FolderLock.take(here)


def test_a_reused_pid_is_not_taken_for_the_one_that_died(here, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_flock)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": "then", "born": 1}
    (here / folder_lock.OWNER).write_text(json.dumps(owner))
    FolderLock.take(here).release()
    assert not list(here.iterdir())


def test_a_lock_lets_go_leaves_nothing_and_is_not_inherited(here, kernel):
    lock = FolderLock.take(here)
    with pytest.raises(BadInput, match=f"pid {os.getpid()}"):
        FolderLock.take(here)
    child = subprocess.Popen(["sleep", "5"])  # executed: the handle is closed
    pid = os.fork()
    if pid == 0:  # forked: it must neither hold the lock nor let go of it
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


def test_a_foreign_folder_is_not_touched_for_a_lock(here):
    (here / "notes.txt").write_text("keep")
    before = here.stat().st_mtime_ns
    with pytest.raises(BadInput, match="not empty"):
        run_folder.create("dqn", "cartpole", 3, str(here))
    assert here.stat().st_mtime_ns == before


def test_a_run_at_work_keeps_its_folder_from_a_second_one(here, tiny, capsys, monkeypatch):
    """The commands: by run_dir, by resume; after a kill the run goes on."""
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
        said = capsys.readouterr().err
        assert f"pid {process.pid} on {socket.gethostname()}" in said
        assert len(said.splitlines()) == 3
    process.kill(), process.wait()
    assert Path("r/.lock").exists()
    step = max(int(p.name) for p in Path("r/checkpoints").iterdir() if p.name.isdigit())
    assert rl_train.run(["resume=r", f"total_timesteps={step + 200}", "quiet=true"]) == 0
    assert not Path("r/.lock").exists()
    assert json.loads(Path("r/status.json").read_text())["state"] == "completed"
