"""B11: of several processes one trains in a folder; the others report which.

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
from rl_cli.core.errors import BadInput, StorageError
from rl_cli.envs.vector import VectorEnv
from rl_cli.storage import folder_lock, run_folder
from rl_cli.storage.folder_lock import FolderLock
from tests.bars.results import report
from tests.conftest import FULL

STARTS, ROUNDS = (16, 10) if FULL else (4, 2)


def no_flock(handle, how):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture(params=["flock", "no flock"])
def kernel(request, monkeypatch):
    if request.param == "no flock":
        monkeypatch.setattr(fcntl, "flock", no_flock)


def at_once(number, function):
    """What `number` forked processes report, which call `function` together and end together."""
    go_read, go = os.pipe()
    read_end, write_end = os.pipe()
    end_read, end = os.pipe()
    children = []
    for _ in range(number):
        pid = os.fork()
        if pid == 0:
            os.close(go), os.close(end)
            os.read(go_read, 1)  # until the parent closes its end
            try:
                reports = function()
            except BadInput as error:
                reports = ["refused", error.exit_code, error.what]
            except BaseException as error:
                reports = ["broken", repr(error)]
            os.write(write_end, (json.dumps([os.getpid(), *reports]) + "\n").encode())
            os.read(end_read, 1)
            os._exit(0)
        children.append(pid)
    os.close(go)
    lines = b""
    while lines.count(b"\n") < number:
        lines += os.read(read_end, 65536)
    os.close(end)
    for pid in children:
        os.waitpid(pid, 0)
    for handle in (go_read, read_end, write_end, end_read):
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
        reports = at_once(STARTS, start())
        assert [r[1] for r in reports] == ["won"] * STARTS
        assert len({r[2] for r in reports}) == STARTS
    report(11, STARTS * ROUNDS, STARTS * ROUNDS, "distinct folders")


@pytest.mark.parametrize("way", ["run_dir", "resume"])
def test_one_start_wins_a_folder_and_the_others_name_it(here, kernel, way):
    for i in range(ROUNDS):
        folder = here / f"run{i}"
        if way == "resume":
            folder.mkdir()
            (folder / "config.yaml").write_text("")
        reports = at_once(STARTS, start(str(folder)) if way == "run_dir" else go_on(folder))
        winners = [r for r in reports if r[1] == "won"]
        assert len(winners) == 1, reports
        for pid, kind, code, what in (r for r in reports if r[1] != "won"):
            assert (kind, code) == ("refused", 2), (pid, what)
            assert f"pid {winners[0][0]} on {socket.gethostname()}" in what
    report(11, ROUNDS, ROUNDS, f"{way} single winners")


def test_lock_of_a_dead_process_is_taken_over_by_one_process(here, kernel):
    """The child processes end with os._exit, which releases nothing, like a kill."""
    folder = here / "run"
    folder.mkdir()
    for _ in range(ROUNDS):
        at_once(1, go_on(folder))
        left = json.loads((folder / folder_lock.OWNER).read_text())
        reports = at_once(STARTS, go_on(folder))
        assert sum(r[1] == "won" for r in reports) == 1, (left, reports)
    report(11, ROUNDS, ROUNDS, "stale locks taken over")


def owner_file(folder, name=folder_lock.OWNER, **fields):
    """An owner file as a process of this host with these fields writes it."""
    known = {"pid": os.getpid(), "host": socket.gethostname(), "started": "then", "born": None}
    (folder / name).write_text(json.dumps({**known, **fields}))


def born(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


@pytest.fixture
def other_process():
    """A process that runs until the end of the test."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_owner_file_of_an_earlier_version_is_respected_while_its_process_runs(
    here, kernel, other_process
):
    """Where there is no flock, earlier versions locked with this file alone."""
    owner_file(here, pid=other_process.pid, born=born(other_process.pid))
    with pytest.raises(BadInput, match=f"pid {other_process.pid} on .*, since then"):
        FolderLock.take(here)
    other_process.kill()
    other_process.wait()
    FolderLock.take(here).release()
    assert not list(here.iterdir())


def test_flock_of_an_earlier_version_is_respected(here):
    """It wrote the owner into the locked file itself."""
    owner_file(here, folder_lock.NAME, pid=1)
    with (here / folder_lock.NAME).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match=f"pid 1 on {socket.gethostname()}, since then"):
            FolderLock.take(here)
    FolderLock.take(here).release()
    assert not list(here.iterdir())


def test_owner_file_of_another_host_is_respected_only_without_flock(here, monkeypatch):
    """A free flock proves that the process on the other host has ended."""
    owner_file(here, pid=1, host="elsewhere")
    FolderLock.take(here).release()
    monkeypatch.setattr(fcntl, "flock", no_flock)
    owner_file(here, pid=1, host="elsewhere")
    with pytest.raises(BadInput, match="pid 1 on elsewhere, since then") as caught:
        FolderLock.take(here)
    assert "delete .lock.owner and .lock.soft" in caught.value.fix


def test_owner_file_with_a_reused_pid_is_ignored(here, kernel, other_process):
    owner_file(here, pid=other_process.pid, born=1)
    FolderLock.take(here).release()
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"pid": "x"}', b'{"pid": -1}', b"\xff", b"[" * 5000, b'{"pid": 1e3}']
)
def test_unreadable_owner_file_is_replaced(here, content):
    (here / folder_lock.OWNER).write_bytes(content)
    with FolderLock.take(here):
        assert folder_lock.holder(here).pid == os.getpid()
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", [folder_lock.NAME, folder_lock.SOFT])
def test_link_with_the_name_of_the_lock_file_is_refused(here, name):
    """Its target is neither locked, nor truncated, nor created."""
    mine = here / "mine"
    for content in ("keep", None):
        if content is None:
            mine.unlink()
        else:
            mine.write_text(content)
        run = here / f"run_{content}"
        run.mkdir()
        (run / name).symlink_to(mine)
        with pytest.raises(BadInput, match="the lock file is a link") as caught:
            FolderLock.take(run)
        assert caught.value.where == str(run / name)
        assert (mine.read_text() if mine.exists() else None) == content


def test_link_with_the_name_of_the_owner_file_is_replaced(here):
    mine, run = here / "mine", here / "run"
    mine.write_text("keep")
    run.mkdir()
    (run / folder_lock.OWNER).symlink_to(mine)
    FolderLock.take(run).release()
    assert mine.read_text() == "keep"
    assert not list(run.iterdir())


def test_hard_link_with_the_name_of_the_lock_file_keeps_its_content(here):
    mine, run = here / "mine", here / "run"
    mine.write_text("keep")
    run.mkdir()
    os.link(mine, run / folder_lock.NAME)
    FolderLock.take(run).release()
    assert mine.read_text() == "keep"


def test_pipe_with_the_name_of_the_lock_file_is_refused(here):
    os.mkfifo(here / folder_lock.NAME)
    with pytest.raises(BadInput, match="the lock file is a pipe or device"):
        FolderLock.take(here)


def test_folder_that_is_not_writable_is_a_storage_error(here, monkeypatch):
    def refused(path, flags, *args, **kwargs):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, flags, *args, **kwargs)

    opened = os.open
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(StorageError, match="cannot lock the folder: Read-only"):
        FolderLock.take(here)


def test_release_removes_all_files_and_children_do_not_inherit_the_lock(here, kernel):
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


def test_a_second_run_in_the_folder_of_a_running_one_is_refused(
    here, tiny, capsys, monkeypatch, request
):
    """The commands: by run_dir, by resume; after a kill the run goes on."""
    args = ["env=cartpole", "hparams=none", *tiny, "total_timesteps=10000000", "run_dir=r"]
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *args], cwd=here)
    request.addfinalizer(lambda: (process.kill(), process.wait()))
    deadline = time.monotonic() + 60
    while not any(Path("r/checkpoints").glob("*/manifest.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    monkeypatch.setattr(sys, "argv", ["rl-train"])
    close, closed = VectorEnv.close, []
    monkeypatch.setattr(VectorEnv, "close", lambda envs: closed.append(1) or close(envs))
    for tries, second in enumerate((args, ["resume=r"]), start=1):
        assert rl_train.run(list(second)) == 2
        assert len(closed) == tries
        printed = capsys.readouterr().err
        assert f"pid {process.pid} on {socket.gethostname()}" in printed
        assert len(printed.splitlines()) == 3
    process.kill(), process.wait()
    assert Path("r/.lock").exists()
    step = max(int(p.name) for p in Path("r/checkpoints").iterdir() if p.name.isdigit())
    assert rl_train.run(["resume=r", f"total_timesteps={step + 200}", "quiet=true"]) == 0
    assert not Path("r/.lock").exists()
    assert json.loads(Path("r/status.json").read_text())["state"] == "completed"
