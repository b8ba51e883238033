"""B10: a failing job of a sweep affects no other job, and completed jobs are not repeated.

Short form: one job at a time. Long form: also two and three at a time, and a sweep that is itself killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hydra  # imported before the fork, to save time in every child
import pytest

from rl_cli.storage import checkpoint_reader, manifest
from tests.bars.kill_points import train_in_child
from tests.bars.results import report
from tests.conftest import FULL

assert hydra
FAULTS = {  # fault: exit code and reason in the record of the job
    "raise": (1, "RuntimeError: env broke"),
    "exit0": (1, "SystemExit: 0"),
    "exit2": (1, "SystemExit: 2"),
    "exit": (1, "the env raised SystemExit: 0"),
    "kill": (137, "killed by SIGKILL"),
    "memory": (1, "MemoryError"),
}
if not FULL:
    del FAULTS["exit"]
MODULE = """
import os, signal, sys
from pathlib import Path
import gymnasium as gym
import numpy as np

def memory():
    raise MemoryError

def raise_error():
    raise RuntimeError("env broke")

FAULTS = {
    "raise": raise_error, "memory": memory, "exit0": lambda: sys.exit(0), "exit2": lambda: sys.exit(2),
    "exit": lambda: os._exit(0), "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}

class Faulty(gym.Env):
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    steps = 0

    def __init__(self, how):
        self.how = how

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        Faulty.steps += 1
        if Faulty.steps == 250 and not Path("fixed").exists():
            FAULTS.get(self.how, lambda: None)()
        return np.full(1, self.np_random.random(), np.float32), 1.0, False, False, {}

gym.register("SweepFaulty-v0", entry_point=Faulty, max_episode_steps=10)
"""
SWEEP = ["-m", "env.id=faulty:SweepFaulty-v0", "algo=dqn", "hydra.sweep.dir=sweep"]
SIZES = [1, 2, 3] if FULL else [1]


def job_records(folder="sweep"):
    """Records of the jobs by the value of env.kwargs.how."""
    found = [json.loads(p.read_text()) for p in sorted(Path(folder).glob("job_*.json"))]
    return {r["overrides"][0].rpartition("=")[2]: r for r in found}


def file_states(folder):
    return {
        str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in Path(folder).rglob("*")
        if p.is_file()
    }


def steps_of(record):
    return manifest.steps_in(Path(record["run_dir"]) / "checkpoints")


@pytest.mark.parametrize("size", SIZES)
def test_failing_jobs_do_not_affect_others_and_are_repeated(here, tiny, capfd, size):
    (here / "faulty.py").write_text(MODULE)
    good = ["fine", "well"] if FULL else ["well"]
    hows = [*good[:-1], *FAULTS, good[-1]]
    args = [f"env.kwargs.how={','.join(hows)}", *SWEEP, *tiny, f"jobs={size}"]
    assert train_in_child(args) not in (0, 2, 70)
    out = capfd.readouterr().out
    first = job_records()
    assert list(first) == hows
    for how in good:
        assert (first[how]["state"], first[how]["exit_code"]) == ("completed", 0)
    for how, (code, reason) in FAULTS.items():
        assert (first[how]["state"], first[how]["exit_code"]) == ("failed", code), how
        assert reason in first[how]["reason"]
        assert reason.split(":")[0].split()[0] in out
    before = {how: file_states(first[how]["run_dir"]) for how in hows}

    (here / "fixed").touch()
    assert train_in_child(args) == 0
    again = job_records()
    assert [r["state"] for r in again.values()] == ["completed"] * len(hows)
    for how in good:
        assert again[how] == first[how]
        assert file_states(first[how]["run_dir"]) == before[how]
    for how in set(FAULTS) - {"kill"}:  # repeated in a new folder; the first is unchanged
        assert again[how]["run_dir"] != first[how]["run_dir"]
        assert file_states(first[how]["run_dir"]) == before[how]
        assert [e["run_dir"] for e in again[how]["earlier"]] == [first[how]["run_dir"]]
    assert again["kill"]["run_dir"] == first["kill"]["run_dir"]  # resumed
    status = json.loads((here / again["kill"]["run_dir"] / "status.json").read_text())
    assert [r["step"] for r in status["resumed"]] == [200]
    assert {policy(again[how]) for how in FAULTS} == {policy(again["well"])}
    report(10, len(FAULTS), len(FAULTS), f"faults contained, {size} jobs at a time")


def policy(record):
    path = checkpoint_reader.find(Path(record["run_dir"]))
    return checkpoint_reader.read_manifest(path).files["policy.safetensors"].sha256


def test_invalid_value_is_refused_before_any_job_starts(here, tiny, capfd):
    args = ["-m", "env=cartpole", "algo=dqn", "hparams=none", "algo.gamma=0.9,0.99,1.5", *tiny]
    assert train_in_child(args) == 2
    out = capfd.readouterr().err
    assert "algo.gamma=1.5 (job 2; none was started)" in out
    assert len(out.splitlines()) == 3
    assert not list(here.glob("runs/*/*"))


def test_sweep_with_more_values_runs_only_the_new_jobs(here, tiny):
    args = ["-m", "env=cartpole", "algo=dqn", "hparams=none", "hydra.sweep.dir=sweep", *tiny]
    args += ["jobs=2", "total_timesteps=100"]
    assert train_in_child([*args, "seed=1"]) == 0
    first = {p.name: p.read_bytes() for p in Path("sweep").glob("job_*.json")}
    assert train_in_child([*args, "seed=0,1"]) == 0
    found = sorted(Path("sweep").glob("job_*.json"))
    assert [json.loads(p.read_text())["seed"] for p in found] == [1, 0]
    assert {p.name: p.read_bytes() for p in found[:1]} == first
    assert len(list(here.glob("runs/dqn/cartpole/*"))) == 2


@pytest.mark.skipif(not FULL, reason="long form only")
def test_killed_sweep_is_resumed(here, tiny):
    """Its jobs save a checkpoint and end; the same command resumes them."""
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    args = ["-m", "env=cartpole", "algo=dqn", "hparams=none", "seed=0,1,2", "jobs=2"]
    args += [*tiny, "total_timesteps=6000", "hydra.sweep.dir=sweep"]
    process = subprocess.Popen([sys.executable, "-c", code, *args], cwd=here)
    deadline = time.monotonic() + 60
    while len(list(here.glob("runs/*/*/*/checkpoints/*/manifest.json"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while list(here.glob("runs/*/*/*/.lock")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = len(list(here.glob("runs/dqn/cartpole/*")))
    assert train_in_child(args) == 0
    found = [json.loads(p.read_text()) for p in sorted(Path("sweep").glob("job_*.json"))]
    assert [(r["seed"], r["state"]) for r in found] == [(s, "completed") for s in range(3)]
    assert len(list(here.glob("runs/dqn/cartpole/*"))) == max(before, 3)
    report(10, 1, 1, "killed sweep resumed")


def test_second_sweep_in_a_folder_is_refused(here, tiny, capfd):
    from rl_cli.storage.folder_lock import FolderLock

    Path("sweep").mkdir()
    with FolderLock.take(Path("sweep")):
        assert (
            train_in_child(["-m", "seed=0,1", "env=cartpole", "hydra.sweep.dir=sweep", *tiny]) == 2
        )
    assert f"pid {os.getpid()}" in capfd.readouterr().err
    assert not list(Path("sweep").glob("job_*"))
