"""Wrappers of `env.wrappers` and what an env says in `info`, from the command line to the files of a run."""

import csv
import json
import os
import shutil
import sys

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from rl_cli.core.errors import BadInput
from rl_cli.core.fields import StateError
from rl_cli.core.types import Episode
from rl_cli.envs.episode_info import InfoLog, scalar, success_of
from rl_cli.envs.make import make_env
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv
from rl_cli.tracking.statistics import EpisodeTally, info_means, success_rate, summarize
from tests.algos.test_algorithms import env_config
from tests.bars.kill_points import run_digests
from tests.probe_envs import Probe

HERE = __name__


class Walk(Probe):
    """Episodes of 3 and 5 steps in turn; `info` has the step, a cost, and success after 5 steps."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.count, self.limit = 0, 5

    def first(self):
        self.count, self.limit = 0, 8 - self.limit
        return np.zeros(1, np.float32)

    def step(self, action):
        self.count += 1
        over = self.count == self.limit
        info = {"step": np.array([self.count]), "name": "walk", "all": {"of": {"cost": 0.5}}}
        info |= {"cost": 0.5, "a.b": self.count}
        if over:
            info["is_success"] = np.float32(self.limit == 5)
        return self.obs, 1.0, over, False, info


class Twice(gym.Wrapper):
    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        return obs, 2 * reward, *rest


def number(env):
    return 1.0


class Plus(gym.Wrapper):
    def __init__(self, env, amount, unused=None):
        super().__init__(env)
        self.amount = amount

    def step(self, action):
        obs, reward, *rest = self.env.step(action)
        return obs, reward + self.amount, *rest


gym.register("TestWalk-v0", Walk)
RUN = [
    *("algo=ppo", "env.id=TestWalk-v0", "env.num_envs=2", "algo.rollout_length=8"),
    *("algo.minibatch_size=8", "eval.episodes=2", "log.every=20", "video.episodes=0"),
    *("log.tensorboard=false", "compile=false", "quiet=true", "eval.every=0", "checkpoint.every=0"),
    "env.log_info=[step,sum:cost,name]",
]
WRAPPERS = f"env.wrappers=[{HERE}:Twice,{{wrapper:{HERE}:Plus,amount:10}}]"


def rewards(*wrappers):
    env = make_env(env_config("TestWalk-v0", wrappers=list(wrappers)))
    env.reset(seed=0)
    return env.step(0)[1]


def test_first_wrapper_is_innermost_and_gets_its_arguments():
    plus = {"wrapper": f"{HERE}:Plus", "amount": 10}
    assert rewards() == 1.0
    assert rewards(f"{HERE}:Twice", plus) == 12.0
    assert rewards(plus, f"{HERE}:Twice") == 22.0


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (f"{HERE}:Twise", ["has no Twise", "did you mean Twice?"]),
        ("no_such_module:A", ["no_such_module", "install the package"]),
        ({"wrapper": f"{HERE}:Plus"}, ["missing a required argument: 'amount'", "amount, unused"]),
        ({"wrapper": f"{HERE}:Twice", "by": 1}, ["unexpected keyword argument 'by'"]),
        ("builtins:int", ["builtins:int"]),
        (f"{HERE}:RUN", ["is no class"]),
        (f"{HERE}:number", ["returned float", "subclass of gymnasium.Wrapper"]),
        ("gymnasium.wrappers:NormalizeObservation", ["conflicts", "env.normalize_obs=true"]),
        ("gymnasium.wrappers:AddRenderObservation", ["env.kwargs.render_mode=rgb_array"]),
        ("Twice", ["module:Class", "Twice"]),
        ({"amount": 3}, ["module:Class"]),
    ],
)
def test_wrapper_that_cannot_be_made_is_refused_with_what_to_write(entry, words):
    with pytest.raises(BadInput) as refused:
        rewards(entry)
    text = " ".join([refused.value.what, refused.value.where, refused.value.fix])
    assert all(word in text for word in words), text


def test_frames_of_the_renderer_are_observations_of_a_wrapper_that_reads_them(monkeypatch):
    wrappers = ["gymnasium.wrappers:AddRenderObservation"]
    changes = {"wrappers": wrappers, "grayscale": True, "resize": 20}
    cfg = env_config("CartPole-v1", kwargs={"render_mode": "rgb_array"}, **changes)
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    frames = VectorEnv(cfg, [0]).reset()
    assert not sys.platform.startswith("linux") or os.environ["SDL_VIDEODRIVER"] == "dummy"
    assert frames.shape == (1, 1, 20, 20)
    assert 150 < frames.mean() < 255 > frames.min()  # the cart in front of white
    with pytest.raises(BadInput, match=r"env\.kwargs cannot set"):
        make_env(env_config("CartPole-v1", kwargs={"render_mode": "human"}))


@pytest.mark.parametrize("workers", [0, 2])
def test_episodes_have_last_values_sums_and_success_of_info(workers):
    paths = ["sum:all.of.cost", "a.b", "all.of", "name.of", "all.no.cost"]
    keys = ["step", "sum:cost", "name", "sum:absent", *paths]
    cfg = env_config("TestWalk-v0", num_envs=2, log_info=keys)
    seeds = [0, 1]
    envs = WorkerVectorEnv(cfg, seeds, workers, 20.0) if workers else VectorEnv(cfg, seeds)
    envs.reset()
    for _ in range(8):
        envs.step(np.zeros(2, np.int64))
    short, long = (
        Episode(n, n, n == 5, {"step": n, "sum:cost": n / 2, "sum:all.of.cost": n / 2, "a.b": n})
        for n in (3, 5)
    )
    assert envs.take_episodes() == [short, short, long, long]
    assert envs.infos.missing() == ["name", "sum:absent", "all.of", "name.of", "all.no.cost"]
    envs.close()


def test_success_and_means_of_episodes():
    """Success of info counts where it is given, the threshold elsewhere."""
    episodes = [
        Episode(9.0, 1),
        Episode(1.0, 1, True, {"x": 1.0}),
        Episode(9.0, 1, False, {"x": 2.0}),
    ]
    assert success_rate(episodes, 5.0) == pytest.approx(2 / 3)
    assert success_rate(episodes, None) == 0.5
    assert success_rate(episodes[:1], None) is None
    assert info_means(episodes) == {"x": 1.5}
    assert (summarize(episodes, 5.0).success_rate, summarize(episodes, 5.0).success_at) == (
        2 / 3,
        None,
    )
    tally = EpisodeTally(5.0)
    for episode in episodes:
        tally.add(episode)
    again = EpisodeTally(5.0)
    again.load_state_dict(tally.state_dict())
    assert again.summary() == tally.summary()
    assert again.summary()["success_rate"] == pytest.approx(2 / 3)
    assert "success_at" not in again.summary()


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1.0), (np.bool_(False), 0.0), (np.array([[2]]), 2.0), (3, 3.0), (10**400, None),
        (np.nan, None), (np.inf, None), ("1", None), (None, None), ([1, 2], None), (object(), None),
    ],
)  # fmt: skip
def test_only_finite_numbers_of_info_count(value, number):
    assert scalar(value) == number
    assert success_of({"success": value}) == (None if number is None else number > 0.5)


def test_info_that_is_loaded_is_checked():
    log = InfoLog(["a"], 1)
    for state in ([], [{"a": "x"}], [{"a": float("nan")}], [3], {}):
        with pytest.raises(StateError):
            log.load(state)
    log.load([{"a": 2.0, "b": 1.0}])
    assert log.values == [{"a": 2.0}]


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_run_logs_info_evaluates_wrapped_and_resumes_to_the_bit(here, capfd):
    """Rewards are 2 + 10 a step. A resumed run continues the sums of the episodes it was in."""
    assert rl_train.run([*RUN, WRAPPERS, "total_timesteps=48", "run_dir=whole"]) == 0
    assert rl_train.run([*RUN, WRAPPERS, "total_timesteps=28", "run_dir=part"]) == 0
    rows, evaluated = read(here / "whole/metrics.csv"), read(here / "whole/eval.csv")
    assert [float(row["rollout/info/sum:cost"]) for row in rows] == [2.0, 5.5 / 3, 2.5]
    assert [float(row["rollout/success_rate"]) for row in rows] == [0.5, 1 / 3, 1.0]
    assert "rollout/info/name" not in rows[0]
    assert [(r["episode_return"], r["success"], r["info/step"]) for r in evaluated] == [
        ("36.0", "0", "3.0"), ("60.0", "1", "5.0"),
    ]  # fmt: skip
    capfd.readouterr()
    assert rl_train.run(["resume=part", "total_timesteps=48"]) == 2
    message = capfd.readouterr().err
    assert f"if you trust it, add: 'env.wrappers=[{HERE}:Twice" in message
    assert rl_train.run(["resume=part", "total_timesteps=48", "quiet=true", WRAPPERS]) == 0
    whole, resumed = run_digests(here / "whole"), run_digests(here / "part")
    assert {k for k in whole if whole[k] != resumed[k]} == {"eval.csv", "metrics.csv"}
    assert read(here / "part/metrics.csv")[-1]["rollout/info/sum:cost"] == "2.5"
    assert rl_eval.run(["whole", "episodes=2", "output=e", WRAPPERS]) == 0
    result = json.loads((here / "e/evaluation.json").read_text())
    assert [e["success"] for e in result["episodes"]] == [False, True]
    assert result["episodes"][0]["info"] == {"step": 3.0, "sum:cost": 1.5}
    assert result["summary"]["success_rate"] == 0.5
    shutil.rmtree(here / "e")
