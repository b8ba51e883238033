"""A finished run of DQN on CartPole."""

from __future__ import annotations

import os
import shutil

import pytest

from rl_cli.cli import train as rl_train

RUN = [
    *("algo=dqn", "env=cartpole", "run_dir=run", "total_timesteps=150"),
    *("algo.learning_starts=100", "algo.hidden_sizes=[16]"),
    *("eval.every=100", "eval.episodes=1", "checkpoint.every=100", "video.episodes=0"),
    *("log.tensorboard=false", "quiet=true", "compile=false"),
]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert rl_train.run(RUN) == 0
    finally:
        os.chdir(before)
    return folder / "run"


@pytest.fixture
def run(trained, here):
    """A current folder with a copy of the run in `run`. -> the folder."""
    shutil.copytree(trained, here / "run")
    return here
