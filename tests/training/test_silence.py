"""Whole runs of envs that draw from the process's generators, and of an episode without end."""

import json
import random

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.envs import action_log
from rl_cli.storage import checkpoint_reader, manifest
from tests.config.test_config import compose
from tests.probe_envs import Probe
from tests.runs import train
from tests.training.test_trainer import (  # noqa: F401  the fixture stops a run at a step
    SMALL,
    signal_by_step,
    stop_at,
)


class Drawing(Probe):
    """Observations from `random`, rewards from a space, lengths from `np.random`."""

    def first(self):
        return np.array([random.random()], np.float32)

    def step(self, action):
        self.obs = self.first()
        ends = np.random.rand() < 0.1  # noqa: NPY002
        return self.obs, float(self.action_space.sample()), ends, False, {}


class Endless(Probe):
    """Pays for action 1 and never ends."""

    action_space = spaces.Discrete(2)

    def step(self, action):
        return self.obs, float(action), False, False, {}


gym.register("TestDrawing-v0", Drawing)
gym.register("TestEndless-v0", Endless)


def config(env_id, folder, tiny, *more, algo="ppo"):
    words = [f"algo={algo}", "env=custom", f"env.id={env_id}", *tiny, *SMALL[algo], *more]
    return compose(*words) | {"run_dir": str(folder)}


def last_weights(folder):
    return (checkpoint_reader.find(folder, "latest") / manifest.POLICY).read_bytes()


@pytest.mark.parametrize("algo", ["ppo"])
def test_same_seed_same_bits_with_and_without_evaluation_and_after_a_resume(here, tiny, algo):
    def run(name, *more):
        outcome = train(config("TestDrawing-v0", here / name, tiny, *more, algo=algo), (algo, "d"))
        assert outcome.exit_code == 0
        return here / name

    whole = run("a")
    assert last_weights(whole) == last_weights(run("b"))
    assert last_weights(whole) == last_weights(run("c", "eval.every=0", "eval.episodes=1"))
    stop_at(210)
    interrupted = config("TestDrawing-v0", here / "d", tiny, algo=algo)
    assert train(interrupted, (algo, "d")).exit_code == 130
    random.seed(7)
    assert train(interrupted | {"resume": str(here / "d")}, (algo, "d")).exit_code == 0
    assert last_weights(whole) == last_weights(here / "d")
    (resumed,) = json.loads((here / "d/status.json").read_text())["resumed"]
    assert resumed["exact"]


def test_resume_of_an_endless_episode_is_reported_as_not_bit_exact(here, tiny, capsys, monkeypatch):
    monkeypatch.setattr(action_log, "ACTION_LOG_BYTES", 80)
    monkeypatch.setattr(action_log, "MIN_LOG_BYTES", 80)
    words = ("eval.every=0", "eval.episodes=1", "quiet=false")
    cfg = config("TestEndless-v0", here / "r", [*tiny, *words])
    monkeypatch.setattr("rl_cli.evaluation.evaluator.DEFAULT_TIME_LIMIT", 20)
    stop_at(210)
    assert train(cfg, ("ppo", "e")).exit_code == 130
    capsys.readouterr()
    assert train(cfg | {"resume": str(here / "r")}, ("ppo", "e")).exit_code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "resume is not bit-exact: the episode has 210 steps, more than are kept" in out
    (resumed,) = json.loads((here / "r/status.json").read_text())["resumed"]
    assert resumed["exact"] is False
