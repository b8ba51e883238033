"""B12: a failing disk loses no checkpoint, and the message names the cause.

Short form: a full disk at every file operation of one save; runs on a disk that stays full, on one that is
full for a while, with a limit on file sizes, without permission, without the folder. Long form: a disk that
is full from each of many steps on.
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
from rl_cli.training.callbacks.disk_retry import DiskRetry
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


# One save


def read_conf(path):
    return OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False)


def contents(step):
    rows = [{"obs": np.full((2, 3), float(step + i), np.float32)} for i in range(3)]
    blocks = Blocks(rows, [1, step, step + 1])
    return {"q.weight": np.full(4, step, np.float32)}, {"step": step, "rows": blocks}


@pytest.fixture
def store(tmp_path):
    algo = build(algos.load("dqn").Config, read_conf("algo/dqn.yaml") | {"gamma": 0.9}, "algo")
    env = read_conf("env/_base.yaml") | {"id": "CartPole-v1", "reward_gamma": 0.9}
    return CheckpointStore(tmp_path / "checkpoints", Identity(0, algo, build(EnvConfig, env)), 2)


@pytest.mark.parametrize("operation", ["write", "fsync", "mkdir", "open", "rename", "link"])
def test_disk_full_at_any_operation_of_a_save_loses_nothing(
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
    report(12, n, n, f"saves, disk full at the n-th {operation}")


def save_failing(store, monkeypatch, operation, n):
    """Save once; call number `n` of `operation` raises ENOSPC. Returns the StorageError, if one was raised."""
    original, calls = getattr(os, operation), [0]

    def fails(*args, **kwargs):
        calls[0] += 1
        if operation == "write" and calls[0] == n:  # the first half still fits
            original(args[0], args[1][: len(args[1]) // 2])
        return no_space() if calls[0] == n else original(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, operation, fails)
        try:
            store.save(100 + n, *contents(100 + n), {"mean_return": 2.0}, best=False)
        except StorageError as error:
            return error
    return None


def test_required_space_counts_packed_bytes(store, monkeypatch):
    """Blocks are packed to count their bytes only if the unpacked size does not fit."""
    rows = {"obs": np.zeros((1000, 100), np.float32)}
    free_space, packings = [1 << 30], []
    monkeypatch.setattr("rl_cli.storage.checkpoint_writer.free_bytes", lambda path: free_space[0])

    def pack(rows):
        packings.append(1)
        return {"obs": rows["obs"][:1]}

    weights = {"q.weight": np.zeros(4, np.float32)}
    for step, (free, packed) in enumerate([(1 << 30, 1), (100_000, 2)], start=1):
        free_space[0] = free
        blocks = Blocks([rows], [step], pack)
        assert store.save(step, weights, {"rows": blocks}, None, best=False).is_dir()
        assert len(packings) == packed
        packings.clear()


def test_lack_of_space_is_found_before_anything_is_written(store, tmp_path, monkeypatch):
    store.save(100, *contents(100), None, best=False)
    monkeypatch.setattr("rl_cli.storage.checkpoint_writer.free_bytes", lambda path: 1000)
    monkeypatch.setattr("rl_cli.storage.atomic_files.free_bytes", lambda path: 1000)
    monkeypatch.setattr(os, "mkdir", lambda *_: pytest.fail("something was written"))
    with pytest.raises(StorageError, match=r"needs 65,[0-9]+ bytes, 1,000 bytes free") as caught:
        store.save(200, *contents(200), None, best=False)
    assert caught.value.exit_code == 4


# Retries


def test_failed_writes_are_retried_for_ten_minutes():
    messages, now = [], [0.0]
    retry = DiskRetry("rows", messages.append, lambda: now[0])
    full = StorageError("disk full", "here")

    def fails():
        raise full

    for now[0] in (0.0, 300.0, 599.0):
        assert retry(fails) is False
    assert len(messages) == 2  # reported once
    assert retry(lambda: None) is True  # a success restarts the ten minutes
    assert messages[2:] == ["rows: writing works again"]
    for now[0] in (1000.0, 1600.0):
        assert retry(fails) is False  # the second failure after ten minutes raises
    with pytest.raises(StorageError):
        retry(fails)


# Whole runs


def metrics_rows(folder="r"):
    with open(f"{folder}/metrics.csv", newline="") as file:
        return [{k: v for k, v in r.items() if "time/" not in k} for r in csv.DictReader(file)]


def policy_digest(folder="r"):
    path = checkpoint_reader.find(Path(folder))
    return checkpoint_reader.read_manifest(path).files["policy.safetensors"].sha256


def assert_exit_4(code, err):
    """Check exit code, message and last checkpoint of a run. Returns the step of that checkpoint."""
    assert code == 4, err
    lines = err.strip().splitlines()
    assert "Traceback" not in err
    assert len(lines) <= 12
    found = checkpoint_reader.find(Path("r"))
    assert checkpoint_reader.why_broken(found) is None
    assert f"kept: checkpoint {int(found.name)} in r" in err
    return int(found.name)


def test_disk_that_stays_full_ends_the_run_and_it_resumes(here, capfd):
    def full_from_step(n):
        def prepare():
            def fill():
                os.write = os.fsync = no_space

            call_at("step", n, fill)

        return prepare

    starts = range(20, 600, 40) if FULL else [330]
    assert train_in_child([*RUN[:4], "run_dir=whole", *RUN[5:]]) == 0
    capfd.readouterr()
    for n in starts:
        shutil.rmtree("r", ignore_errors=True)
        code, err = train_in_child(RUN, full_from_step(n)), capfd.readouterr().err
        if n > 100:
            kept = assert_exit_4(code, err)
            assert kept == (n - 1) // 100 * 100
            assert "disk full (No space left on device)" in err
        assert code == 4
        assert train_in_child(["resume=r", "quiet=true"]) == 0
        assert (metrics_rows(), policy_digest()) == (metrics_rows("whole"), policy_digest("whole"))
    report(12, len(starts), len(starts), "runs on a disk that stays full")


def test_disk_that_is_full_for_a_while_changes_no_result(here, capfd):
    """Rows that could not be written are written later; the weights are those of an undisturbed run."""

    def prepare():
        original = os.write
        call_at("step", 130, lambda: setattr(os, "write", no_space))
        call_at("step", 420, lambda: setattr(os, "write", original))

    assert train_in_child([*RUN[:4], "run_dir=whole", *RUN[5:]]) == 0
    capfd.readouterr()
    assert train_in_child(RUN, prepare) == 0
    err = capfd.readouterr().err
    assert err.count("disk full") == 2  # once for curves, once for checkpoints
    assert err.count("training continues") == 2
    assert "curves: writing works again" in err
    assert "checkpoints: writing works again" in err
    assert (metrics_rows(), policy_digest()) == (metrics_rows("whole"), policy_digest("whole"))
    assert [int(r["step"]) for r in metrics_rows()] == list(range(50, 650, 50))
    assert manifest.steps_in(Path("r/checkpoints"))[-1] == 600


def test_disk_full_beyond_the_retry_time_ends_the_run_early(here, capfd):
    def prepare():
        disk_retry.SECONDS = 0.0
        call_at("step", 130, lambda: setattr(os, "write", no_space))

    assert assert_exit_4(train_in_child(RUN, prepare), capfd.readouterr().err) == 100


def test_limit_on_file_sizes_is_named(here, capfd):
    def prepare():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
        call_at("step", 130, small)

    code, err = train_in_child(RUN, prepare), capfd.readouterr().err
    assert_exit_4(code, err)
    assert "ulimit -f" in err


def test_deleted_folder_ends_the_run(here, capfd):
    def prepare():
        call_at("step", 130, lambda: shutil.rmtree("r"))
        call_at("step", 260, lambda: os._exit(99))

    assert train_in_child(RUN, prepare) == 4
    err = capfd.readouterr().err
    assert "No such file or directory" in err
    assert "Traceback" not in err
    assert not Path("r").exists()


def test_folder_that_cannot_be_created_is_refused(here, capfd):
    Path("r").write_text("")
    assert train_in_child([*RUN[:4], "run_dir=r/run", *RUN[5:]]) == 4
    assert "r/run" in capfd.readouterr().err


def test_folder_that_becomes_read_only_ends_the_run(capfd, monkeypatch):
    """The run switches to another user, because root can write everywhere."""
    if os.getuid() != 0:
        pytest.skip("only root can switch to another user")
    home = Path(tempfile.mkdtemp())
    home.chmod(0o755)
    monkeypatch.chdir(home)

    def prepare():
        call_at("step", 130, lambda: os.seteuid(65534))

    try:
        assert_exit_4(train_in_child(RUN, prepare), capfd.readouterr().err)
        assert json.loads(Path("r/status.json").read_text())["state"] == "running"
    finally:
        shutil.rmtree(home)
