"""B12: a disk that fails costs no checkpoint, and is told in words.

Quick: a full disk at every operation of one save; a run on a disk that stays full, one that is full
for a while, a limit on file sizes, no permission, no folder. Full (RL_CLI_BARS=full): a full disk
from every so manyth write of a run on.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import resource
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.errors import StorageError
from rl_cli.core.state import Blocks
from rl_cli.storage import checkpoint_reader, manifest
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity
from rl_cli.training.callbacks import disk_retry
from rl_cli.training.callbacks.disk_retry import Patience
from tests.bars.kill_points import call_at, train_in_child
from tests.bars.results import report
from tests.conftest import FULL

CONF = Path(__file__).resolve().parents[2] / "conf"
RUN = [
    *("env=cartpole", "hparams=none", "algo=dqn", "total_timesteps=600", "run_dir=r"),
    *("eval.every=200", "eval.episodes=1", "checkpoint.every=100", "log.every=50"),
    *("video.episodes=0", "quiet=true", "compile=false"),
]


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# A save


def values(path):
    return OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False)


def contents(step):
    rows = [{"obs": np.full((2, 3), float(step + i), np.float32)} for i in range(3)]
    blocks = Blocks(rows, [1, step, step + 1])
    return {"q.weight": np.full(4, step, np.float32)}, {"step": step, "rows": blocks}


@pytest.fixture
def store(tmp_path):
    algo = build(algos.load("dqn").Config, values("algo/dqn.yaml") | {"gamma": 0.9}, "algo")
    env = values("env/_base.yaml") | {"id": "CartPole-v1", "reward_gamma": 0.9}
    return CheckpointStore(tmp_path / "checkpoints", Identity(0, algo, build(EnvConfig, env)), 2)


@pytest.mark.parametrize("operation", ["write", "fsync", "mkdir", "open", "rename", "link"])
def test_a_disk_full_at_any_operation_of_a_save_costs_nothing(
    store, tmp_path, monkeypatch, operation
):
    store.save(100, *contents(100), {"mean_return": 1.0}, best=True)
    n = 1
    while (error := save_failing(store, monkeypatch, operation, n)) is not None:
        assert "disk full" in error.what
        assert " free" in error.what
        assert error.where.endswith(f"{100 + n:09d}")
        there = manifest.steps_in(store.folder)
        assert all(checkpoint_reader.why_broken(store.folder / f"{s:09d}") is None for s in there)
        assert there == [100] or (operation in ("fsync", "open") and there == [100, 100 + n])
        assert not [p for p in store.folder.iterdir() if p.name.startswith(".")]
        n += 1
    assert checkpoint_reader.why_broken(checkpoint_reader.find(tmp_path, str(100 + n))) is None
    report(12, n, n, f"saves, no room at the n-th {operation}")


def save_failing(store, monkeypatch, operation, n):
    """Save once, the n-th call of `operation` finding no room. -> what was raised."""
    plain, calls = getattr(os, operation), [0]

    def fails(*args, **kwargs):
        calls[0] += 1
        if operation == "write" and calls[0] == n:  # a part still fits
            plain(args[0], args[1][: len(args[1]) // 2])
        return no_space() if calls[0] == n else plain(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, operation, fails)
        try:
            store.save(100 + n, *contents(100 + n), {"mean_return": 2.0}, best=False)
        except StorageError as error:
            return error
    return None


def test_room_is_needed_for_what_is_written_not_for_what_is_kept(store, monkeypatch):
    """Pieces that are packed are counted so, where it matters."""
    rows = {"obs": np.zeros((1000, 100), np.float32)}
    room, packings = [1 << 30], []
    monkeypatch.setattr("rl_cli.storage.checkpoint_writer.free_bytes", lambda path: room[0])

    def pack(rows):
        packings.append(1)
        return {"obs": rows["obs"][:1]}

    weights = {"q.weight": np.zeros(4, np.float32)}
    for step, (free, packed) in enumerate([(1 << 30, 1), (100_000, 2)], start=1):
        room[0] = free
        blocks = Blocks([rows], [step], pack)
        assert store.save(step, weights, {"rows": blocks}, None, best=False).is_dir()
        assert len(packings) == packed
        packings.clear()


def test_too_little_room_is_found_before_anything_is_written(store, tmp_path, monkeypatch):
    store.save(100, *contents(100), None, best=False)
    monkeypatch.setattr("rl_cli.storage.checkpoint_writer.free_bytes", lambda path: 1000)
    monkeypatch.setattr("rl_cli.storage.atomic_files.free_bytes", lambda path: 1000)
    monkeypatch.setattr(os, "mkdir", lambda *_: pytest.fail("something was written"))
    with pytest.raises(StorageError, match=r"needs 65,[0-9]+ bytes, 1,000 bytes free") as caught:
        store.save(200, *contents(200), None, best=False)
    assert caught.value.exit_code == 4


# How long it is borne


def test_a_run_bears_ten_minutes_of_failures_and_no_more():
    said, now = [], [0.0]
    bears = Patience("rows", said.append, lambda: now[0])
    full = StorageError("disk full", "here")

    def fails():
        raise full

    for now[0] in (0.0, 300.0, 599.0):
        assert bears(fails) is False
    assert len(said) == 2  # told once
    assert bears(lambda: None) is True  # there is room again: from the beginning
    assert said[2:] == ["rows are written again"]
    for now[0] in (1000.0, 1600.0):
        assert bears(fails) is False  # ten minutes, but twice
    with pytest.raises(StorageError):
        bears(fails)


# A run


def rows(folder="r"):
    with open(f"{folder}/metrics.csv", newline="") as file:
        return [{k: v for k, v in r.items() if "time/" not in k} for r in csv.DictReader(file)]


def policy(folder="r"):
    path = checkpoint_reader.find(Path(folder))
    return checkpoint_reader.read_manifest(path).files["policy.safetensors"].sha256


def ended_in_4(code, err):
    """As it should end; what is left is whole, and goes on. -> the last good checkpoint."""
    assert code == 4, err
    lines = err.strip().splitlines()
    assert "Traceback" not in err
    assert len(lines) <= 12
    found = checkpoint_reader.find(Path("r"))
    assert checkpoint_reader.why_broken(found) is None
    assert f"kept: checkpoint {int(found.name)} in r" in err
    return int(found.name)


def test_a_disk_that_stays_full_ends_the_run_and_what_was_kept_goes_on(here, capfd):
    def full_from_step(n):
        def arrange():
            def fill():
                os.write = os.fsync = no_space

            call_at("step", n, fill)

        return arrange

    starts = range(20, 600, 40) if FULL else [330]
    assert train_in_child([*RUN[:4], "run_dir=whole", *RUN[5:]]) == 0
    capfd.readouterr()
    for n in starts:
        shutil.rmtree("r", ignore_errors=True)
        code, err = train_in_child(RUN, full_from_step(n)), capfd.readouterr().err
        if n > 100:
            kept = ended_in_4(code, err)
            assert kept == (n - 1) // 100 * 100
            assert "disk full (No space left on device)" in err
        assert code == 4
        assert train_in_child(["resume=r", "quiet=true"]) == 0
        assert (rows(), policy()) == (rows("whole"), policy("whole"))
    report(12, len(starts), len(starts), "runs on a disk that stays full")


def test_a_disk_that_is_full_for_a_while_ends_nothing(here, capfd):
    """Rows that could not be written are there in the end; the run is the same run."""

    def arrange():
        plain = os.write
        call_at("step", 130, lambda: setattr(os, "write", no_space))
        call_at("step", 420, lambda: setattr(os, "write", plain))

    assert train_in_child([*RUN[:4], "run_dir=whole", *RUN[5:]]) == 0
    capfd.readouterr()
    assert train_in_child(RUN, arrange) == 0
    said = capfd.readouterr().err
    assert said.count("disk full") == 2  # told once of curves, once of checkpoints
    assert said.count("training goes on") == 2
    assert "curves are written again" in said
    assert "checkpoints are written again" in said
    assert (rows(), policy()) == (rows("whole"), policy("whole"))
    assert [int(r["step"]) for r in rows()] == list(range(50, 650, 50))
    assert manifest.steps_in(Path("r/checkpoints"))[-1] == 600


def test_a_disk_that_stays_full_for_long_ends_the_run_before_its_end(here, capfd):
    def arrange():
        disk_retry.SECONDS = 0.0
        call_at("step", 130, lambda: setattr(os, "write", no_space))

    assert ended_in_4(train_in_child(RUN, arrange), capfd.readouterr().err) == 100


def test_a_limit_on_the_size_of_files_is_told(here, capfd):
    def arrange():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
        call_at("step", 130, small)

    err = (train_in_child(RUN, arrange), capfd.readouterr().err)
    ended_in_4(*err)
    assert "ulimit -f" in err[1]


def test_a_folder_that_is_deleted_ends_the_run_at_once(here, capfd):
    def arrange():
        call_at("step", 130, lambda: shutil.rmtree("r"))
        call_at("step", 260, lambda: os._exit(99))

    assert train_in_child(RUN, arrange) == 4
    err = capfd.readouterr().err
    assert "No such file or directory" in err
    assert "Traceback" not in err
    assert not Path("r").exists()


def test_a_folder_that_cannot_be_made_is_refused(here, capfd):
    Path("r").write_text("")
    assert train_in_child([*RUN[:4], "run_dir=r/run", *RUN[5:]]) == 4
    assert "r/run" in capfd.readouterr().err


def test_a_folder_that_becomes_read_only_ends_the_run(capfd, monkeypatch):
    """As another user, since root may write everywhere."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user; a plain user has no folder of root's here")
    home = Path(tempfile.mkdtemp())
    home.chmod(0o755)
    monkeypatch.chdir(home)

    def arrange():
        call_at("step", 130, lambda: os.seteuid(65534))

    try:
        ended_in_4(train_in_child(RUN, arrange), capfd.readouterr().err)
        assert json.loads(Path("r/status.json").read_text())["state"] == "running"
    finally:
        shutil.rmtree(home)
