"""A loaded agent, fed with observations of the plain env, plays the episodes of the evaluation."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli import algos
from rl_cli.algos.factory import make_algorithm
from rl_cli.core.errors import BadInput
from rl_cli.envs.interface import Interface, rows_of
from rl_cli.envs.make import make_own_env
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.envs.spaces import spec_of
from rl_cli.evaluation.agent import Agent, load_agent
from rl_cli.evaluation.evaluator import Evaluator
from rl_cli.storage.checkpoint_reader import find
from tests.algos.test_algorithms import env_config, settings
from tests.conftest import REPO

GOLDEN = REPO / "tests/golden/format_4"
"""Recorded runs, with the returns that rl-eval found."""


def play(act, env, seed, reset=lambda: None):
    obs, _ = env.reset(seed=seed)
    reset()
    total, over = 0.0, False
    while not over:
        obs, reward, terminated, truncated, _ = env.step(act(obs))
        total, over = total + float(reward), terminated or truncated
    return total


@pytest.mark.parametrize("name", ["dqn", "ppo", "reinforce"])
def test_loaded_agent_plays_the_recorded_evaluation_on_the_env_of_gymnasium(name):
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    agent = load_agent(find(GOLDEN / name), {}, "cpu")
    env = gym.make("CartPole-v1")
    returns = [play(agent.act, env, expected["seed"] + i) for i in range(5)]
    assert returns == expected["returns"]


class Camera(gym.Env):
    """Frames (40, 50, 3) of noise and a bar; the action, 5 to 7, is the reward; eight steps."""

    observation_space = spaces.Box(0, 255, (40, 50, 3), np.uint8)
    action_space = spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._frame(), {}

    def _frame(self):
        frame = self.np_random.integers(0, 256, (40, 50, 3), np.uint8)
        frame[:, self.t * 5] = 255
        return frame

    def step(self, action):
        assert 5 <= action <= 7
        self.t += 1
        return self._frame(), float(action) * self.t, self.t == 8, False, {}


class Parts(Camera):
    """A Dict of a number and a vector; a Box of actions with bounds of its own."""

    observation_space = spaces.Dict(
        {"gear": spaces.Discrete(3), "speed": spaces.Box(-9.0, 9.0, (2,), np.float64)}
    )
    action_space = spaces.Box(np.array([2.0, -3.0]), np.array([4.0, 9.0]), dtype=np.float64)

    def _frame(self):
        return {"gear": self.t % 3, "speed": self.np_random.normal(size=2)}

    def step(self, action):
        assert self.action_space.contains(action)
        self.t += 1
        return self._frame(), float(action.sum()) * self.t, self.t == 8, False, {}


class Words(Parts):
    """Two parts that a network reads, and parts without a fixed size, each of another length at each step."""

    observation_space = spaces.Dict(
        {
            "gear": spaces.Discrete(3, start=2),
            "pair": spaces.Tuple((spaces.Box(-9.0, 9.0, (2,), np.float64), spaces.Text(9))),
            "seen": spaces.Sequence(spaces.Discrete(5)),
            "map": spaces.Graph(spaces.Box(0, 1, (2,)), None),
        }
    )

    def _frame(self):
        nodes = np.zeros((self.t + 1, 2), np.float32)
        speed, word = self.np_random.normal(size=2), "go" * (self.t // 2)
        return {
            **{"gear": 2 + self.t % 3, "pair": (speed, word), "seen": (1,) * self.t},
            "map": spaces.GraphInstance(nodes, None, None),
        }


gym.register("Camera-v0", Camera)
gym.register("Parts-v0", Parts)
gym.register("Words-v0", Words)

CASES = {
    "frames": ("Camera-v0", {"grayscale": True, "resize": 36, "frame_stack": 3}),
    "parts": ("Parts-v0", {"scale_actions": True, "frame_stack": 2, "normalize_obs": True}),
    "clipped": ("Parts-v0", {}),
    "left out": ("Words-v0", {"frame_stack": 2}),
    "skipped": ("Pendulum-v1", {"frame_skip": 4, "max_episode_steps": 60, "scale_actions": True}),
}


def random_agent(env_id, **changes):
    """An agent with initial weights and made-up statistics of observations."""
    env_cfg = env_config(env_id, **changes)
    env, left = make_own_env(env_cfg)
    own = env.observation_space, env.action_space
    spec = spec_of(Interface(*own, left).env, env_cfg)
    cfg = settings("ppo", hidden_sizes=[8])
    algo = make_algorithm(algos.load("ppo"), cfg, spec, 1, 3, "cpu")
    normalizer = None
    if env_cfg.normalize_obs:
        normalizer = ObservationNormalizer(spec.obs_shape, env_cfg.clip_obs)
        normalizer.observe(np.random.default_rng(0).normal(1.0, 2.0, (50, *spec.obs_shape)))
    return Agent(algo, env_cfg, normalizer, None, own, left)


@pytest.mark.parametrize("case", CASES)
def test_act_does_what_the_wrappers_of_an_evaluation_do(case):
    env_id, changes = CASES[case]
    agent = random_agent(env_id, **changes)
    evaluator = Evaluator(agent.env_cfg, agent.normalizer)
    env = agent.make_env()
    for seed in (1, 2):
        expected = evaluator.episode(agent.algo.predict, seed, greedy=True)
        assert play(agent.act, env, seed, agent.reset) == expected.episode_return
    agent.rng = np.random.default_rng([7, 0])
    expected = evaluator.episode(agent.algo.predict, 7, greedy=False)
    found = play(lambda obs: agent.act(obs, greedy=False), env, 7, agent.reset)
    assert found == expected.episode_return


@pytest.mark.parametrize("case", CASES)
def test_batch_gets_the_actions_of_its_rows_and_each_row_remembers_its_own_frames(case):
    env_id, changes = CASES[case]
    batched, alone = random_agent(env_id, **changes), random_agent(env_id, **changes)
    envs = gym.vector.SyncVectorEnv([batched.make_env for _ in range(3)])
    obs, _ = envs.reset(seed=5)
    rows = []
    for t in range(4):
        actions = batched.act(obs)
        assert actions.shape == (3, *batched.action_space.shape)
        rows.append((rows_of(batched.observation_space, obs)[2], actions[2]))
        if t == 1:
            batched.reset([False, False, True])
        obs, *_ = envs.step(actions)
    for t, (row, action) in enumerate(rows):
        if t == 2:
            alone.reset()
        assert np.allclose(alone.act(row), action, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "obs"),
    [
        ("clipped", np.zeros(3)),
        ("clipped", {"gear": 1}),
        ("clipped", {"gear": 1, "speed": np.zeros(3)}),
        ("skipped", np.zeros(4)),
        ("skipped", [np.nan, 0.0, 0.0]),
        ("skipped", np.zeros((2, 2, 3))),
        ("skipped", [[1.0, 2.0, 3.0], [1.0]]),
        ("skipped", "text"),
        ("skipped", None),
        ("frames", np.zeros((40, 51, 3), np.uint8)),
    ],
)
def test_what_is_no_observation_is_refused(case, obs):
    env_id, changes = CASES[case]
    with pytest.raises(BadInput, match="this is no observation of"):
        random_agent(env_id, **changes).act(obs)
