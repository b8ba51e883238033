"""`rl-train --doctor`: what it prints, what it finds, and that it leaves no file."""

from __future__ import annotations

import re

import gymnasium as gym
import pytest

from rl_cli import algos
from rl_cli.cli import train as rl_train
from rl_cli.training.doctor import Doctor
from tests.config.test_config import compose


def examine(*words, **limits):
    """-> problems."""
    cfg = algos.build_run_config(compose(*words, "compile=false"))
    return Doctor(cfg, measured=0.02, **limits).examine(" ".join(words))


def findings(text):
    return dict(re.findall(r"^  (\w[\w ]*?) {2,}(.*)$", text, re.MULTILINE))


@pytest.fixture
def faulty():
    """The id of an env whose third step raises."""

    class Faulty(gym.Env):
        observation_space = gym.spaces.Box(0.0, 1.0, (3,))
        action_space = gym.spaces.Discrete(2)
        steps = 0

        def reset(self, *, seed=None, options=None):
            return self.observation_space.sample(), {}

        def step(self, action):
            self.steps += 1
            if self.steps == 3:
                raise RuntimeError("third step")
            return self.observation_space.sample(), 0.0, False, False, {}

    gym.register("DoctorFaulty-v0", Faulty)
    yield "DoctorFaulty-v0"
    del gym.registry["DoctorFaulty-v0"]


def test_everything_of_a_run_is_reported_and_no_file_written(here, capsys):
    words = ["algo=ppo", "env=cartpole", "hparams=none", "env.num_envs=2", "algo.rollout_length=8"]
    assert examine(*words) == []
    found = findings(capsys.readouterr().out)
    # two MLPs of 64-64: policy 4*64+64 + 64*64+64 + 64*2+2, value the same with 64*1+1 at the end
    assert found["parameters"] == f"{4610 + 4545:,}"
    assert found["env"] == "CartPole-v1; env.num_envs=2"
    assert found["observations"] == "4 float32"
    assert found["actions"] == "discrete 2"
    assert found["encoder"] == "vector (4,) -> mlp; hidden layers: 64-64, tanh"
    assert found["first update"].startswith("after 16 steps")
    assert found["renderer"] == "frames of 600x400, 50 per second"
    assert "not compiled" in found["compiler"]
    assert "for 100,000 steps" in found["time expected"]
    assert "torch" in found["versions"]
    assert not list(here.iterdir())


def test_replay_starts_at_once_and_its_memory_is_that_of_the_buffer(here, capsys):
    assert examine("algo=dqn", "env=cartpole", "hparams=none", "video.episodes=0") == []
    found = findings(capsys.readouterr().out)
    steps = int(re.match(r"after (\d+) steps", found["first update"])[1])
    assert 64 <= steps < 128  # one batch, instead of the 1,000 steps of learning_starts
    row = 2 * 4 * 4 + 8 + 4 + 1 + 1  # two observations, int64 action, float32 reward, two flags
    assert abs(float(found["buffer"].removesuffix(" MB")) - 100_000 * row / 1e6) <= 2.0
    assert found["renderer"].startswith("not needed")


def test_problems_are_named(here, capsys, faulty):
    problems = examine("algo=ppo", "env=custom", f"env.id={faulty}", "video.episodes=1")
    assert any("third step" in line for line in problems)
    out = capsys.readouterr().out
    assert "there will be no videos: " in findings(out)["renderer"]
    assert out.endswith("wrong: see above\n")
    assert "Traceback" not in out


def test_update_that_is_not_reached_is_reported_with_the_pace(here, capsys):
    words = ["algo=ppo", "env=cartpole", "algo.rollout_length=100000", "total_timesteps=10_000_000"]
    assert examine(*words, "video.episodes=0", timeout=0.05) == []
    assert "none within" in findings(capsys.readouterr().out)["first update"]


def test_command_exits_with_1_if_something_is_wrong_and_2_for_its_own_mistakes(here, capsys):
    assert rl_train.run(["--doctor", "algo=dqn", "env=pendulum", "video.episodes=0"]) == 1
    out = capsys.readouterr().out
    assert "dqn supports discrete actions" in out
    for words, expected in (
        (["algo.gama=1"], "did you mean algo.gamma?"),
        (["resume=latest"], "examines new runs"),
        (["-m", "seed=1,2", "threads=0"], "threads=0"),
    ):
        assert rl_train.run(["--doctor", *words]) == 2
        assert expected in capsys.readouterr().err
    assert not list(here.iterdir())
