"""What a step of the loop costs, counted rather than timed: calls of torch, waits, memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter

import pytest
import torch
from test_algos import env_config, settings
from torch.utils._python_dispatch import TorchDispatchMode

from rl_cli import algos
from rl_cli.vector import VectorEnv

SMALL = {
    "dqn": {"learning_starts": 20, "train_every": 1, "target_update_every": 1_000},
    "ppo": {"rollout_length": 32, "num_epochs": 2, "minibatch_size": 16},
}


class Calls(TorchDispatchMode):
    """Counts the operations that reach torch's dispatcher."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen[func.overloadpacket._qualified_op_name] += 1
        return func(*args, **(kwargs or {}))


def empty_library(function, arguments):
    """Stands in for the compiled step, which is one call whatever it holds."""
    metrics = function(*[a.clone() for a in arguments[:3]], *arguments[3:])
    return lambda *arguments: metrics


class Loop:
    def __init__(self, name, num_envs=1, compiled=True, **env):
        self.envs = VectorEnv(env_config("CartPole-v1", num_envs=num_envs, **env), [1] * num_envs)
        cfg = settings(name, **SMALL[name])
        self.algo = algos.load(name)(cfg, self.envs.spec, 10_000, 0, torch.device("cpu"))
        if compiled:
            self.algo.learner.compiler = empty_library
        self.obs, self.at = self.envs.reset(), 0

    def step(self):
        action = self.algo.act(self.obs, self.at)
        transition, self.obs = self.envs.step(action)
        self.algo.observe(transition)
        self.at += len(action)
        return self.algo.update(self.at)


def warm(loop, steps):
    for _ in range(steps):
        loop.step()
    return loop


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("env", [{}, {"normalize_obs": True, "normalize_reward": True}])
def test_a_step_that_does_not_learn_never_calls_torch(name, env):
    loop = Loop(name, **env)
    for _ in range(15):
        with Calls() as calls:
            assert loop.step() is None
        assert not calls.seen


def test_a_dqn_step_calls_torch_for_its_numbers_alone():
    """The library is one call; beside it two arrays become tensors, and nothing is computed."""
    loop = warm(Loop("dqn"), 40)
    for _ in range(10):
        with Calls() as calls:
            assert loop.step() is not None
        assert sum(calls.seen.values()) <= 2, calls.seen


def test_a_rollout_is_learned_from_in_few_calls_beside_the_library():
    loop = warm(Loop("ppo"), 32 + 31)
    with Calls() as calls:
        assert loop.step() is not None
    assert sum(calls.seen.values()) <= 80, calls.seen


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("compiled", [True, False])
def test_learning_waits_for_no_number(name, compiled, monkeypatch):
    """On a GPU each of these would wait for all that was asked of it before."""
    loop = warm(Loop(name, compiled=compiled), 31 if name == "ppo" else 40)
    loop.algo.act(loop.obs, loop.at)

    def waited(self, *args):
        raise AssertionError("the loop asked a tensor for its value")

    for ask in ("item", "__float__", "__int__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, ask, waited)
    assert loop.step() is not None


@pytest.mark.parametrize(("name", "num_envs"), [("dqn", 1), ("dqn", 3), ("ppo", 1), ("ppo", 3)])
def test_memory_stands_still(name, num_envs):
    """Beside the actions of the episodes under way, which are part of the state, nothing grows."""
    loop = warm(Loop(name, num_envs), 300)
    loop.envs.take_episodes()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        warm(loop, 400)
        loop.envs.take_episodes()
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    actions = sum(len(rows) for rows in loop.envs.actions)
    assert after - before < 10_000 + 200 * actions
    assert peak - before < 80_000
