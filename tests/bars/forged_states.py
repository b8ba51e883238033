"""Forged training states for B5: every value of a real state replaced by what it cannot be."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import gymnasium as gym
import numpy as np

from rl_cli.config.run import StopConfig
from rl_cli.core.errors import NonFinite
from rl_cli.core.fields import StateError
from rl_cli.core.types import Episode
from rl_cli.storage.serialization import pack, unpack
from rl_cli.tracking.logger import Logger
from rl_cli.tracking.statistics import summarize
from rl_cli.training.callbacks.base import CallbackList
from rl_cli.training.callbacks.early_stopping import EarlyStopping
from rl_cli.training.callbacks.evaluation import EvaluationCallback
from rl_cli.training.callbacks.history import EvaluationHistory
from rl_cli.training.callbacks.metrics import MetricsCallback
from rl_cli.training.callbacks.triggers import Trigger
from rl_cli.training.exactness import Exactness
from rl_cli.training.state import TrainingState
from tests.collectors.loop import BUDGET, Loop

NORMALIZED = {"normalize_obs": True, "normalize_reward": True}
EPISODES = {"rollout_length": None, "rollout_episodes": 2, "num_epochs": 1}
SORTED = {
    "replay": "proportional",
    "sort_every": 40,
    "n_step": 3,
    "bootstrap": "sarsa",
    "buffer_size": 90,
}
RUNS = {  # what `Loop` is made of; together they have every class with a state
    "uniform": ("dqn", "CartPole-v1", {"changes": {"buffer_size": 150, "average_decay": 0.9}}),
    "prioritized": ("dqn", "CartPole-v1", {"num_envs": 2, "changes": SORTED}),
    "n-step": ("dqn", "Acrobot-v1", {"num_envs": 2, "changes": {"n_step": 3, "buffer_size": 90}}),
    "rollout": ("ppo", "MountainCar-v0", {**NORMALIZED}),
    "rollout-of-3": ("ppo", "Pendulum-v1", {"num_envs": 3, **NORMALIZED}),
    "noise": ("ppo", "Pendulum-v1", {"changes": {"std": "gsde", "squash_actions": True}}),
    "whole-episodes": ("ppo", "CartPole-v1", {"num_envs": 2, "changes": EPISODES}),
    "reinforce": (
        "reinforce",
        "CartPole-v1",
        {"changes": {"baseline": "mean", "bootstrap_truncated": False}},
    ),
    "frames": ("dqn", "ForgedFrames-v0", {"frame_stack": 2, "changes": {"buffer_size": 70}}),
}
NUMBERS = [-1, -(10**9), 0, 10**9, 50_000_000, 2**62, 2**200, 10**400]
FLOATS = [-0.5, 0.5, 1e30, -1e300, 1e308, math.nan, math.inf]
OTHERS = ["text", None, True, [], {}, [1, 2, 3], {"a": 1}, "$missing", "$nested"]
PLAIN = [*NUMBERS, *FLOATS, *OTHERS]
ARRAYS = ["negative", "huge", "nan", "longer", "shorter", "empty", "flat", "dtype", "complex"]
MORE_STEPS = 25


class Frames(gym.Env):
    """Random frames, episodes of 9 steps."""

    observation_space = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._frame(), {}

    def step(self, action):
        self.steps += 1
        return self._frame(), 1.0, self.steps == 9, False, {}

    def _frame(self):
        return self.np_random.integers(0, 256, (36, 36, 1)).astype(np.uint8)


gym.register("ForgedFrames-v0", entry_point=Frames)


class Forgery:
    """A run with its state in the form of state.json, arrays and pieces."""

    def __init__(self, name):
        algo, env_id, how = RUNS[name]
        self.loop = loop = Loop(algo, env_id, True, **how).run(120)
        self.logger, self.history = Logger([], 100.0), EvaluationHistory(3)
        callbacks = CallbackList(
            [
                MetricsCallback(SimpleNamespace(logger=self.logger), Trigger(10), float, 1),
                EvaluationCallback(self.history, None, None, None, None, None, None),
                EarlyStopping(StopConfig(**STOP), self.history),
            ]
        )
        self.logger.add_episodes([*loop.episodes, EPISODE])
        self.logger.add({"loss": np.ones(3, np.float32)})
        self.history.add(100, summarize(loop.episodes or [EPISODE], 1.0))
        callbacks.add_episodes(loop.episodes, [], None)
        self.training = TrainingState(loop.algo, loop.collector, callbacks, Exactness())
        self.training.add_steps(loop.step)
        self.training.add_episodes(len(loop.episodes))
        self.tree, self.arrays, pieces = pack(self.training.state_dict())
        self.tree = copy.deepcopy(self.tree)
        self.arrays = {name: array.copy() for name, array in self.arrays.items()}
        self.pieces = {n: {k: a.copy() for k, a in piece().items()} for n, piece in pieces.items()}
        self.policy = loop.algo.policy_state()

    def leaves(self):
        """Every value: its place and the forged values for it."""
        for path, value in _walk(self.tree):
            if isinstance(value, dict) and "$array" in value:
                yield from ((("array", value["$array"]), how) for how in ARRAYS)
            yield from ((("tree", path), how) for how in PLAIN)
        for name, piece in self.pieces.items():
            for column in piece:
                yield from ((("piece", name, column), how) for how in ARRAYS)

    def forged(self, place, how):
        """The state with one value replaced, as a reader of the checkpoint returns it."""
        tree, arrays, pieces = self.tree, self.arrays, self.pieces
        if place[0] == "tree":
            tree = copy.deepcopy(tree)
            _replace(tree, place[1], how)
        elif place[0] == "array":
            arrays = {**arrays, place[1]: _array(arrays[place[1]], how)}
        else:
            piece = pieces[place[1]]
            piece = {**piece, place[2]: _array(piece[place[2]], how)}
            pieces = {**pieces, place[1]: piece}
        copies = {n: a.copy() for n, a in arrays.items()}
        try:
            return unpack(tree, copies, lambda n: {k: a.copy() for k, a in pieces[n].items()})
        except (TypeError, KeyError):  # `checkpoint_reader.read_state` reports any error
            return None

    def outcome(self, state):
        """Load a state and continue. -> refused, not finite, or continued; else an exception."""
        if state is None:
            return "refused"
        loop = self.loop
        loop.algo.load_policy(self.policy)
        loop.envs.take_episodes()
        try:
            self.training.load_state_dict(state)
        except StateError as error:
            return "refused" if 0 < len(str(error)) < 400 else f"refused with {error}"
        self.require_in_range()
        loop.step, loop.episodes, loop.metrics = self.training.step, [], []
        try:
            loop.run(min(loop.step + MORE_STEPS, BUDGET))
        except NonFinite:
            return "not finite"
        numbers = [*loop.envs.returns, *np.ravel(loop.envs.obs).tolist()]
        assert all(map(math.isfinite, numbers))
        assert all(map(math.isfinite, self.logger.row({}).values()))
        return "continued"

    def require_in_range(self):
        """Addresses that C computes from the state are in the memory of the buffer."""
        buffer, n = self.loop.algo.buffer, self.loop.envs.num_envs
        if hasattr(buffer, "capacity"):
            assert 0 <= buffer.position < buffer.capacity
            assert 0 <= buffer.size <= buffer.capacity
        elif hasattr(buffer, "length"):
            assert 0 <= buffer.position < buffer.length
        assert len(self.loop.envs.lengths) == len(self.loop.envs.actions) == n


STOP = {"eval_return": None, "eval_window": 1, "train_return": None, "window": 5}
EPISODE = Episode(1.0, 2, True, {"cost": 0.5})


def _walk(tree, path=()):
    yield path, tree
    if isinstance(tree, dict) and "$array" not in tree:
        for key, value in tree.items():
            yield from _walk(value, (*path, key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree[:3]):
            yield from _walk(value, (*path, i))


def _replace(tree, path, value):
    if not path:
        return
    node = tree
    for key in path[:-1]:
        node = node[key]
    if value == "$missing":
        del node[path[-1]]
        return
    if value == "$nested":
        value = []
        for _ in range(200):
            value = [{"a": value}]
    node[path[-1]] = value


def _array(array, how):
    if how in ("negative", "huge", "nan"):
        new = array.copy() if array.dtype.kind == "f" or how != "nan" else array.astype(np.float64)
        kind = new.dtype.kind
        huge = np.finfo(new.dtype).max if kind == "f" else True if kind == "b" else 10**2
        value = {"negative": -1 if kind in "fi" else 1, "huge": huge, "nan": np.nan}[how]
        new[...] = value
        return new
    return {
        "longer": lambda: np.concatenate([np.atleast_1d(array)] * 2),
        "shorter": lambda: np.atleast_1d(array)[:-1],
        "empty": lambda: np.zeros(0, array.dtype),
        "flat": lambda: array.reshape(-1)[None],
        "dtype": lambda: array.astype(np.float16),
        "complex": lambda: array.astype(np.uint64),
    }[how]()
