"""Runs with device=cuda. Without a CUDA device these tests are skipped."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import rl_cli
from rl_cli.algos.dqn import DQN
from rl_cli.core.errors import NonFinite
from tests.runs import train
from tests.training.test_trainer import (
    SMALL,
    compose,
    contents,
    run,
    same_weights,
    signal_by_step,
    stop_at,
)

DEVICE = "cuda"

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.usefixtures("signal_by_step"),
]
__all__ = ["signal_by_step"]  # a fixture

CASES = [
    ("dqn", "cartpole", ()),
    ("dqn", "cartpole", ("algo.replay=proportional", "algo.n_step=3", "algo.noisy=true")),
    ("rainbow", "cartpole", ()),
    ("ppo", "cartpole", ()),
    ("ppo", "pendulum", ("algo.std=gsde",)),
    ("reinforce", "cartpole", ()),
    ("dqn", "minatar_breakout", ()),
    ("ppo", "minatar_breakout", ()),
    ("reinforce", "minatar_breakout", ()),
    ("dqn", "minatar_breakout", ("algo.encoder=impala",)),
]


def small(algo, env, *more):
    if env.startswith("minatar") and importlib.util.find_spec("minatar") is None:
        pytest.skip("needs minatar")
    return [f"algo={algo}", f"env={env}", "hparams=none", *SMALL[SIZES.get(algo, algo)], *more]


SIZES = {"rainbow": "dqn"}  # the overrides of which algorithm make a run small


def command(name, *words, **env):
    """rl-<name> in a process of its own, which is to succeed."""
    main = f"from rl_cli.cli.{MODULES.get(name, name)} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, *words],
        capture_output=True, text=True, check=False, env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


MODULES = {"eval": "evaluate"}


@pytest.mark.parametrize(("algo", "env", "more"), CASES)
def test_same_seed_gives_the_same_bits_also_through_a_resume(here, tiny, algo, env, more):
    words = [*small(algo, env, *more), *tiny, "eval.every=0", f"device={DEVICE}"]
    for name in ("whole", "again"):
        train(compose(*words) | {"run_dir": str(here / name)}, (algo, env))
    assert contents(here / "again") == contents(here / "whole")
    config = compose(*words)
    stopped = train(config | {"run_dir": str(here / "halves")} | stop_at(233), (algo, env))
    assert stopped.state == "interrupted"
    resumed = train(config | {"resume": str(here / "halves")}, (algo, env))
    assert (resumed.step, resumed.exit_code) == (400, 0)
    assert contents(here / "halves") == contents(here / "whole")
    status = json.loads((here / "halves/status.json").read_text())
    assert status["resumed"][0]["exact"]
    provenance = json.loads((here / "whole/provenance.json").read_text())
    assert torch.cuda.get_device_name() in json.dumps(provenance)


@pytest.mark.parametrize(("algo", "env", "more"), CASES)
def test_policy_is_the_same_on_both_devices(here, tiny, algo, env, more):
    """Greedy actions on the observations of random episodes; ties of rounding are rare."""
    words = [*small(algo, env, *more), *tiny, "eval.every=0", f"device={DEVICE}"]
    train(compose(*words) | {"run_dir": str(here / "r")}, (algo, env))
    agents = [rl_cli.load(here / "r", "latest", device=device) for device in ("cpu", DEVICE)]
    space = agents[0].observation_space
    space.seed(0)
    obs = np.array([space.sample() for _ in range(200)])
    if obs.dtype.kind == "f":  # unbounded coordinates are sampled from wide distributions
        obs = np.clip(obs, -3.0, 3.0).astype(obs.dtype)
    first, second = (np.asarray(agent.act(obs)) for agent in agents)
    close = np.isclose(first, second, atol=1e-4).reshape(len(obs), -1).all(1)
    assert close.mean() > 0.98


def test_run_of_a_gpu_resumes_on_the_cpu_and_says_that_bits_differ(here, tiny, capsys):
    config = compose(*small("ppo", "cartpole"), *tiny, f"device={DEVICE}")
    train(config | {"run_dir": str(here / "r")} | stop_at(233), ("ppo", "cartpole"))
    again = config | {"resume": str(here / "r"), "device": "cpu"}
    assert train(again, ("ppo", "cartpole")).exit_code == 0
    (resumed,) = json.loads((here / "r/status.json").read_text())["resumed"]
    assert not resumed["exact"]
    assert torch.cuda.get_device_name() in json.dumps(resumed)


def test_gradient_that_is_not_finite_ends_the_run_within_100_updates(here, tiny, monkeypatch):
    loss = DQN.loss

    def broken(self, *arguments):
        value, details = loss(self, *arguments)
        return value * float("nan"), details

    monkeypatch.setattr(DQN, "loss", broken)
    words = [*small("dqn", "cartpole"), *tiny, "algo.train_every=1", f"device={DEVICE}"]
    with pytest.raises(NonFinite):
        train(compose(*words) | {"run_dir": str(here / "r")}, ("dqn", "cartpole"))
    status = json.loads((here / "r/status.json").read_text())
    assert status["state"] == "failed"
    assert status["step"] <= 50 + 100 + 1  # learning_starts, and the updates up to the check


def test_jobs_of_a_sweep_see_the_gpu_that_they_are_given(here, tiny):
    words = [*small("ppo", "cartpole"), *tiny, f"device={DEVICE}", "gpus=0", "jobs=2", "seed=0,1"]
    command("train", "-m", *words)
    found = sorted(here.glob("**/status.json"))
    assert [json.loads(p.read_text())["state"] for p in found] == ["completed"] * 2


def test_doctor_builds_on_the_gpu(here):
    done = command("train", "--doctor", "algo=ppo", "env=cartpole", f"device={DEVICE}")
    assert DEVICE in done.stdout.lower()


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_policy_of_a_gpu_is_exported(here, tiny):
    _, folder = run(here, "r", *tiny, f"device={DEVICE}", algo="ppo")
    command("export", str(folder), "format=onnx")


def test_checkpoints_of_a_gpu_hold_plain_arrays(here, tiny):
    """They load where there is no CUDA device."""
    _, plain = run(here, "plain", *tiny, f"device={DEVICE}", algo="ppo")
    _, again = run(here, "again", *tiny, f"device={DEVICE}", algo="ppo")
    assert same_weights(plain, again)
    command("eval", str(plain), "episodes=2", "output=out", CUDA_VISIBLE_DEVICES="")
    assert np.isfinite(json.loads((here / "out/evaluation.json").read_text())["summary"]["mean"])
