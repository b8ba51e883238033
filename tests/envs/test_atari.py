"""Atari preprocessing on a game with known frames, and on real games if ale_py is installed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.cli import train as rl_train
from rl_cli.core.errors import BadInput
from rl_cli.envs.make import make_env
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv
from rl_cli.storage.serialization import pack, unpack
from tests.algos.test_algorithms import env_config


class Game(gym.Env):
    """Frame t has brightness 100 + t if t is odd, else 0; the reward of each frame is 3.

    A life is lost in frame 10; the game ends in frame 22.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(3)
    observation_space = spaces.Box(0, 255, (210, 160, 3), np.uint8)
    _frameskip = 1

    def __init__(self, render_mode=None, frameskip=1):
        self.t, self.taken, self._frameskip = 0, [], frameskip
        self.ale = SimpleNamespace(
            lives=lambda: 2 - (self.t >= 10) - (self.t >= 22),
            getScreenGrayscale=lambda into: into.fill(self.brightness()),
        )

    def get_action_meanings(self):
        return ["NOOP", "FIRE", "UP"]

    def brightness(self):
        return 100 + self.t if self.t % 2 else 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros((210, 160, 3), np.uint8), {}

    def step(self, action):
        self.t += 1
        self.taken.append(action)
        return np.zeros((210, 160, 3), np.uint8), 3.0, self.t >= 22, False, {}


gym.register("TestGame-v0", Game)
UP = 2


def config(**changes):
    settings = {"atari": True, "frame_skip": 4, "resize": 36, "grayscale": True} | changes
    return env_config("TestGame-v0", **settings)


def play(env, steps):
    """(brightness, reward, terminated) of each step."""
    env.reset(seed=0)
    found = []
    for _ in range(steps):
        obs, reward, terminated, _, _ = env.step(UP)
        assert obs.shape == (1, 36, 36)
        found.append((int(obs[0, 0, 0]), reward, terminated))
    return found


def test_frame_is_the_maximum_of_the_last_two_and_a_life_does_not_terminate():
    env = make_env(config())
    assert play(env, 6)[:5] == [(n, 12.0, False) for n in (103, 107, 111, 115, 119)]
    assert play(env, 6)[5][1:] == (6.0, True)  # frames 21 and 22
    assert env.unwrapped.taken == 2 * 22 * [UP]


def test_fire_is_pressed_after_a_reset_and_after_a_lost_life():
    env = make_env(config(fire_reset=True))
    assert play(env, 3) == [
        (107, 12.0, False),
        (115, 24.0, False),  # life lost in frame 10, FIRE in frames 13 to 16
        (119, 12.0, False),
    ]
    assert env.unwrapped.taken == [1] * 4 + [UP] * 8 + [1] * 4 + [UP] * 4


def test_number_of_no_ops_is_random_up_to_noop_max():
    env = make_env(config(noop_max=5))
    counts = []
    for seed in [*range(40), 0]:
        env.reset(seed=seed)
        counts.append(env.unwrapped.t)
    assert set(counts) == {1, 2, 3, 4, 5}
    assert counts[0] == counts[-1]


def saved(envs):
    return unpack(*pack(envs.state_dict())[:2], {}.__getitem__)


def vector(envs, steps):
    """(terminated, reward) of two envs per step, and the finished episodes."""
    envs.reset()
    results = []
    for _ in range(steps):
        transition, _ = envs.step(np.array([UP, UP]))
        results.append((transition.terminated.tolist(), transition.reward.tolist()))
    return results, envs.take_episodes()


@pytest.mark.parametrize("workers", [0, 2])
def test_episodic_life_terminates_the_return_but_not_the_episode(workers):
    cfg = config(episodic_life=True, sign_reward=True, num_envs=2)
    envs = WorkerVectorEnv(cfg, [0, 1], workers, 20.0) if workers else VectorEnv(cfg, [0, 1])
    found, episodes = vector(envs, 7)
    envs.close()
    assert [over for over, _ in found] == [[n in (3, 6)] * 2 for n in range(1, 8)]
    assert all(rewards == [1.0, 1.0] for _, rewards in found)
    assert [e[:2] for e in episodes] == [(66.0, 6), (66.0, 6)]


def test_resume_in_a_later_life_is_exact():
    cfg = config(episodic_life=True, noop_max=5, frame_stack=2, num_envs=2)
    first, second = VectorEnv(cfg, [0, 1]), VectorEnv(cfg, [0, 1])
    vector(first, 10)  # second life of the second game
    assert second.load_state_dict(saved(first)) == []
    for _ in range(4):
        ours, theirs = (envs.step(np.array([UP, UP]))[0] for envs in (first, second))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("env_id", "changes", "what", "where"),
    [
        ("CartPole-v1", {"atari": True}, "not an Atari game", "env.atari=true"),
        ("TestGame-v0", {"noop_max": 3}, "Atari games only", "env.noop_max=3"),
        ("TestGame-v0", {"fire_reset": True}, "Atari games only", "env.fire_reset=true"),
        ("TestGame-v0", {"episodic_life": True}, "Atari games only", "env.episodic_life=true"),
        ("TestGame-v0", {"atari": True, "kwargs": {"frameskip": 4}}, "skips", "frameskip=4"),
        (
            "TestGame-v0",
            {"sign_reward": True, "normalize_reward": True},
            "exclude each other",
            "env",
        ),
    ],
)
def test_invalid_combinations_raise(env_id, changes, what, where):
    with pytest.raises(BadInput) as caught:
        make_env(env_config(env_id, **changes))
    assert what in caught.value.what
    assert where in caught.value.where


# With the optional packages


def started(*args):
    """Run a short training. -> its status.json."""
    small = ["total_timesteps=150", "eval.every=0", "eval.episodes=1", "log.tensorboard=false"]
    few = ["env.max_episode_steps=400", "video.episodes=0", "quiet=true", "run_dir=run"]
    assert rl_train.run([*args, *small, *few, "compile=false", "algo.hidden_sizes=[16]"]) == 0
    with open("run/status.json") as file:
        return json.load(file)


PPO = ["algo=ppo", "env.num_envs=2", "algo.rollout_length=32", "algo.minibatch_size=32"]
DQN = ["algo=dqn", "algo.buffer_size=200", "algo.learning_starts=120"]


@pytest.mark.parametrize(
    "args", [[*PPO, "env=pong_noframeskip"], [*DQN, "env.id=ALE/Breakout-v5"]], ids=["ppo", "dqn"]
)
def test_atari_trains(here, args):
    pytest.importorskip("ale_py")
    status = started(*args)
    assert (status["state"], status["step"]) == ("completed", 150)


@pytest.mark.parametrize("env_id", ["ALE/Breakout-v5", "BreakoutNoFrameskip-v4"])
def test_resume_of_a_real_game_is_exact(env_id):
    """Also with sticky actions, drawn inside the emulator: each episode has its own seed."""
    pytest.importorskip("ale_py")
    sticky = 0.25 if env_id.startswith("ALE/") else 0.0
    cfg = env_config(
        env_id,
        kwargs={"frameskip": 1, "repeat_action_probability": sticky},
        **{"atari": True, "frame_skip": 4, "resize": 84, "grayscale": True, "num_envs": 1},
        **{"episodic_life": not sticky, "fire_reset": not sticky, "noop_max": 0 if sticky else 30},
        reseed_episodes=True,
    )
    first, second = VectorEnv(cfg, [3]), VectorEnv(cfg, [3])
    first.reset()
    rng, ends = np.random.default_rng(0), 0
    while not ends or first.lengths[0] < 60:
        first.step(rng.integers(4, size=1))
        ends += len(first.take_episodes())
    assert second.load_state_dict(saved(first)) == []
    for _ in range(60):
        action = rng.integers(4, size=1)
        ours, theirs = (envs.step(action)[0] for envs in (first, second))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_mujoco_trains(here):
    pytest.importorskip("mujoco")
    status = started(*PPO, "env=halfcheetah")
    assert (status["state"], status["step"]) == ("completed", 150)
