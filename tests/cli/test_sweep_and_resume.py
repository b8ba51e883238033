"""Sweeps, signals and resuming with rl-train."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl_cli.cli import train as rl_train
from tests.conftest import FULL


def test_sweep_runs_every_combination_and_reports_over_seeds(command, here, tiny):
    done = command("rl-train", "-m", "algo=dqn,ppo", "env=cartpole", "seed=0,1", *tiny)
    assert done.returncode == 0, done.stderr
    assert len(list(here.glob("runs/dqn/cartpole/*_s0_*"))) == 1
    assert len(list(here.glob("runs/ppo/cartpole/*_s1_*"))) == 1
    jobs = [json.loads(p.read_text()) for p in sorted(here.glob("runs/sweeps/*/job_*.json"))]
    assert [(j["labels"][0], j["seed"], j["state"]) for j in jobs] == [
        ("dqn", 0, "completed"),
        ("dqn", 1, "completed"),
        ("ppo", 0, "completed"),
        ("ppo", 1, "completed"),
    ]
    assert "Too few seeds for a conclusion" in done.stdout
    assert len(list(here.glob("runs/sweeps/*/report.html"))) == 1


def test_repeated_sweep_trains_nothing_again(invoke, here, tiny):
    """Also if the folder needs quotes, and if a number is written in another form."""
    words = ["-m", "env=cartpole", "seed=0,1", *tiny, 'hydra.sweep.dir="2026 first"']
    assert invoke(rl_train.run, *words)[0] == 0
    for again in (words, [*words, "total_timesteps=4e2"]):
        assert invoke(rl_train.run, *again)[0] == 0
    assert len(list(here.glob("runs/*/*/*/config.yaml"))) == 2
    assert [path.name for path in here.iterdir() if path.name != "runs"] == ["2026 first"]
    code, _, err = invoke(rl_train.run, *words[:-1], "hydra.sweep.dir='2026 first/report.csv'")
    assert code == 4
    assert "report.csv" in err


def test_sweep_cannot_have_one_folder_for_its_runs(invoke, here, tiny):
    for words in (["sweep=seeds"], ["-m"]):
        code, _, err = invoke(rl_train.run, *words, "seed=0,1", *tiny, "run_dir=mine")
        assert code == 2
        assert "run_dir=mine" in err
    assert not (here / "mine").exists()


def test_failed_job_does_not_stop_the_sweep(command, here, tiny):
    done = command("rl-train", "-m", "algo=dqn,ppo", "env=pendulum", *tiny)
    assert done.returncode == 2
    assert "box" in done.stderr
    assert len(list(here.glob("runs/ppo/pendulum/*/status.json"))) == 1
    assert not (here / "runs/dqn").exists()
    assert "failed" in done.stdout


@pytest.mark.skipif(not FULL, reason="long; set RL_CLI_BARS=full")
def test_concurrent_jobs_give_the_same_weights(command, here, tiny):
    """As sequential jobs do; a refused job does not stop the others."""
    hashes = {}
    for jobs in (1, 2):
        args = ["algo=ppo,dqn", "env=cartpole", "seed=0,1", f"jobs={jobs}", *tiny]
        done = command("rl-train", "-m", *args, f"hydra.sweep.dir=sweep{jobs}")
        assert done.returncode == 0, done.stderr
        records = [json.loads(p.read_text()) for p in sorted(here.glob(f"sweep{jobs}/job_*.json"))]
        assert [r["state"] for r in records] == ["completed"] * 4
        policies = [
            Path(r["run_dir"]) / "checkpoints/000000400/policy.safetensors" for r in records
        ]
        hashes[jobs] = [hashlib.sha256((here / p).read_bytes()).hexdigest() for p in policies]
    assert hashes[1] == hashes[2]
    assert len(set(hashes[1])) == 4
    assert (
        command("rl-train", f"resume={records[0]['run_dir']}", "total_timesteps=500").returncode
        == 0
    )
    done = command("rl-train", "-m", "algo=dqn,ppo", "env=pendulum", "jobs=2", *tiny)
    assert done.returncode == 2
    assert len(list(here.glob("runs/ppo/pendulum/*/status.json"))) == 1


def test_signal_interrupts_every_running_job(here, tiny):
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    args = ["-m", "env=cartpole", "hparams=none", "seed=0,1,2", "jobs=2", *tiny]
    args += ["total_timesteps=10000000", "hydra.sweep.dir=sweep"]
    process = subprocess.Popen([sys.executable, "-c", code, *args], cwd=here)
    deadline = time.monotonic() + 60
    while sum(p.read_text().count("\n") > 3 for p in here.glob("runs/*/*/*/metrics.csv")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    states = [json.loads(p.read_text()) for p in here.glob("runs/*/*/*/status.json")]
    assert [(s["state"], s["reason"]) for s in states] == [("interrupted", "SIGTERM")] * 2


def test_terminated_run_resumes_at_its_step(here, tiny):
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    args = ["env=cartpole", "hparams=none", *tiny, "total_timesteps=10000000", "run_dir=r"]
    process = subprocess.Popen([sys.executable, "-c", code, *args], cwd=here)
    deadline = time.monotonic() + 60
    metrics = here / "r/metrics.csv"
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    status = json.loads((here / "r/status.json").read_text())
    assert (status["state"], status["reason"]) == ("interrupted", "SIGTERM")
    step = status["step"]
    done = subprocess.run(
        [sys.executable, "-c", code, "resume=r", f"total_timesteps={step + 50}"],
        cwd=here,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads((here / "r/status.json").read_text())["step"] == step + 50
    steps = [int(r.split(",")[0]) for r in metrics.read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))


def test_resume_refuses_changes_of_the_run(invoke, here, tiny):
    code, *_ = invoke(rl_train.run, "env=cartpole", *tiny, "run_dir=r")
    assert code == 0
    code, _, err = invoke(rl_train.run, "resume=r", "total_timesteps=10")
    assert code == 2
    assert "already at step 400" in err
    code, *_ = invoke(rl_train.run, "resume=r", "total_timesteps=4.5e2")
    assert code == 0
    code, *_ = invoke(rl_train.run, "resume=r")  # the longer budget has been recorded
    assert code == 0
    assert json.loads((here / "r/status.json").read_text())["step"] == 450
    for change, shown in (
        ("algo.gamma=0.5", "algo.gamma is 0.99 in the run, 0.5 was given"),
        ("seed=3", "seed is 0 in the run, 3 was given"),
        ("env=pendulum", "env=pendulum"),
    ):
        code, _, err = invoke(rl_train.run, "resume=r", change)
        assert code == 2
        assert shown in err
    code, out, _ = invoke(
        rl_train.run, "resume=r", "algo.gamma=0.99", "env=cartpole"
    )  # unchanged values
    assert code == 0
    assert "this run is complete" in out
    code, _, err = invoke(rl_train.run, "resume=r", "eval.evry=3")
    assert "did you mean eval.every?" in err
