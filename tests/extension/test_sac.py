"""Soft actor-critic as an outside package: several networks, losses, targets and update intervals."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from rl_cli.cli import train as rl_train
from rl_cli.core import plugins
from rl_cli.storage import checkpoint_reader
from tests.bars.kill_points import read_csv, run_digests
from tests.conftest import FULL

TINY = ["video.episodes=0", "log.tensorboard=false", "quiet=true"]
SHORT = [
    *(
        "algo=sac",
        "env=pendulum",
        "algo.learning_starts=100",
        "algo.actor_every=2",
        "algo.batch_size=32",
        "compile=false",
    ),
    *("eval.every=0", "eval.episodes=1", "checkpoint.every=60", "log.every=60"),
]


@pytest.fixture
def package(here, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent / "sac")
    entry = EntryPoint("sac", "lab_sac.sac:SAC", "rl_cli.algos")
    real = plugins._installed
    monkeypatch.setattr(
        plugins, "_installed", lambda g: {"sac": entry} if g == "rl_cli.algos" else real(g)
    )
    yield here
    for name in [name for name in sys.modules if name.startswith("lab_sac")]:
        del sys.modules[name]


def policy(folder):
    path = checkpoint_reader.find(folder)
    return checkpoint_reader.read_policy(path, checkpoint_reader.read_manifest(path))


def test_run_resumes_to_the_bit_and_updates_the_actor_every_second_time(package):
    assert rl_train.run([*SHORT, *TINY, "total_timesteps=180", "run_dir=whole"]) == 0
    assert rl_train.run([*SHORT, *TINY, "total_timesteps=140", "run_dir=part"]) == 0
    more = ["resume=part", "total_timesteps=180", "quiet=true"]
    assert rl_train.run(more) == 0
    whole, resumed = run_digests(package / "whole"), run_digests(package / "part")
    evaluated = {"best", "eval.csv", "metrics.csv", "state/callbacks"}  # also at step 140
    assert {k for k in whole if whole[k] != resumed[k]} <= evaluated
    # updates 1 and 2 are made at steps 101 and 102: the second one leaves the actor as it is
    for steps in (101, 102):
        words = [*SHORT, *TINY, f"total_timesteps={steps}", f"run_dir=s{steps}"]
        assert rl_train.run(words) == 0
    first, second = policy(package / "s101"), policy(package / "s102")
    same = {
        name for name in first if torch.equal(*map(torch.as_tensor, (first[name], second[name])))
    }
    assert same == {name for name in first if name.startswith("actor")}


@pytest.mark.skipif(not FULL, reason="long form only: trains")
def test_learns_pendulum_on_compiled_steps(package):
    words = ["algo=sac", "env=pendulum", *TINY, "compile=true", "total_timesteps=15000"]
    assert rl_train.run([*words, "run_dir=r", "eval.episodes=20"]) == 0
    returns = [float(row["episode_return"]) for row in read_csv(package / "r/eval.csv")[-20:]]
    assert sum(returns) / 20 > -250  # a policy that has learned nothing has about -1200
