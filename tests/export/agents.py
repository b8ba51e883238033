"""Untrained agents of every kind of policy, with random weights, on envs with random observations."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from rl_cli import algos
from rl_cli.envs.make import make_env, make_own_env
from rl_cli.envs.normalization import observation_normalizer
from rl_cli.envs.spaces import spec_of
from rl_cli.evaluation.agent import Agent
from rl_cli.export.base import Context
from rl_cli.storage.manifest import Manifest
from tests.algos.test_algorithms import env_config, settings

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
PIXELS = spaces.Box(0, 255, (40, 38, 3), np.uint8)
PARTS = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (9, 8, 3), np.uint8),
        "depth": spaces.Box(0.0, 2.0, (10, 9, 1), np.float32),
        "speed": BOX,
        "gear": spaces.Discrete(4),
    }
)
FLOAT_PARTS = spaces.Tuple((BOX, spaces.Box(0.0, 1.0, (7, 7, 1), np.float32)))
LOW, HIGH = np.array([[-1.0, 0.0], [-2.0, -0.5]]), np.array([[0.3, 4.0], [2.0, 0.5]])
SPACES = {
    "Discrete": (BOX, spaces.Discrete(3)),
    "Start": (BOX, spaces.Discrete(3, start=-4)),
    "One": (BOX, spaces.Discrete(1)),
    "Multi": (BOX, spaces.MultiDiscrete([2, 4, 3])),
    "Bounded": (BOX, spaces.Box(LOW.astype(np.float32), HIGH.astype(np.float32))),
    "Double": (
        spaces.Box(-np.inf, np.inf, (3,), np.float64),
        spaces.Box(LOW, HIGH, dtype=np.float64),
    ),
    "HalfOpen": (
        BOX,
        spaces.Box(np.array([-0.1, -np.inf], np.float32), np.array([np.inf, 0.2], np.float32)),
    ),
    "Whole": (BOX, spaces.Box(-3, 5, (2,), np.int32)),
    "Pixels": (PIXELS, spaces.Discrete(3)),
    "PixelsBounded": (PIXELS, spaces.Box(-1.0, 1.0, (2,), np.float32)),
    "Table": (spaces.Discrete(5), spaces.Discrete(2)),
    "Parts": (PARTS, spaces.Discrete(3)),
    "FloatParts": (FLOAT_PARTS, spaces.MultiBinary(3)),
    "Small": (spaces.Box(-1.0, 3.0, (8, 7, 2), np.float32), spaces.MultiDiscrete([[2, 3], [4, 2]])),
    "Scalar": (BOX, spaces.Box(-1.0, 2.0, (), np.float32)),
}


class Noise(gym.Env):
    """Observations are noise; an episode ends at random. It refuses actions outside of its space."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, name):
        self.observation_space, self.action_space = SPACES[name]

    def _obs(self, space=None):
        space = self.observation_space if space is None else space
        if isinstance(space, spaces.Dict):
            return {key: self._obs(part) for key, part in space.items()}
        if isinstance(space, spaces.Tuple):
            return tuple(self._obs(part) for part in space)
        if isinstance(space, spaces.Discrete):
            return int(self.np_random.integers(space.n))
        if space.dtype == np.uint8:
            return self.np_random.integers(256, size=space.shape, dtype=np.uint8)
        noise = (self.np_random.normal(size=space.shape) * 2).astype(space.dtype)
        return np.clip(noise, space.low, space.high)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._obs(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        return self._obs(), 0.0, bool(self.np_random.random() < 0.1), False, {}


for each in SPACES:
    gym.register(f"Noise{each}-v0", lambda name=each: Noise(name), max_episode_steps=50)


def make_agent(algo_name, env_id, env=None, seed=0, **algo):
    """An agent with random weights; statistics of observations are random too. -> Agent."""
    cfg = env_config(env_id, **(env or {}))
    made = make_env(cfg)
    spec = spec_of(made, cfg)
    small = {"buffer_size": 100, "learning_starts": 10} if algo_name == "dqn" else {}
    made_algo = algos.load(algo_name)(
        settings(algo_name, **{"hidden_sizes": [8, 6]} | small | algo), spec, 1, seed,
        torch.device("cpu"),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    weights = made_algo.policy_state()
    noise = {k: torch.randn(v.shape, generator=generator) for k, v in weights.items()}
    inputs = {k: max(math.prod(v.shape[1:]), 4) for k, v in weights.items()}
    made_algo.load_policy({k: v + noise[k] * inputs[k] ** -0.5 for k, v in weights.items()})
    normalizer = None
    if cfg.normalize_obs:
        normalizer = observation_normalizer(cfg, spec)
        shape = normalizer.moments.mean.shape
        noise = np.random.default_rng(seed).normal(size=(50, *shape))
        normalizer.moments.update(1.0 + 3.0 * noise)
    manifest = Manifest(4, 7, 0, {"name": algo_name}, {}, None, {}, {})
    own, left = make_own_env(cfg)
    spaces_of = own.observation_space, own.action_space
    return Agent(made_algo, cfg, normalizer, manifest, spaces_of, left)


def make_context(agent, folder, observations=100):
    return Context(agent, folder, folder, observations, 0)
