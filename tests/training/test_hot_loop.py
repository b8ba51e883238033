"""What a step of the loop costs, counted rather than timed: calls of torch, waits, memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter

import pytest
import torch
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

from rl_cli import algos
from rl_cli.engine.functions import copied, eager_loop
from rl_cli.engine.tracing import trace
from rl_cli.envs.vector import VectorEnv
from tests.algos.test_algorithms import env_config, settings
from tests.conftest import REPO

SMALL = {
    "dqn": {"learning_starts": 20, "train_every": 1, "target_update_every": 1_000},
    "ppo": {"rollout_length": 32, "num_epochs": 2, "minibatch_size": 16},
}
RAINBOW = dict(OmegaConf.load(REPO / "conf/algo/rainbow.yaml"))
PRIORITIZED = {"replay": "proportional"}
DQN_SWITCHES = {
    "default": {},
    "proportional": PRIORITIZED,
    "softmax": {"replay": "softmax", "sort_every": 50},
    "n_step": {"n_step": 3},
    "double": {"bootstrap": "double"},
    "dueling": {"dueling": True},
    "noisy": {"noisy": True},
    "c51": {"distributional": "c51"},
    "quantile": {"distributional": "qr"},
    "sarsa": {"bootstrap": "sarsa"},
    "expected_sarsa": {"bootstrap": "expected_sarsa"},
    "no_target": {"target_update_every": 0},
    "max_grad_value": {"max_grad_value": 1.0},
    "q_l1": {"q_l1_coef": 0.1},
    "epsilon_factor": {"epsilon_factor": 0.99},
    "rainbow": {k: RAINBOW[k] for k in RAINBOW if k not in ("defaults", "name", "adam_eps")},
}
PPO_SWITCHES = {
    "default": {},
    "monte_carlo": {"advantage": "monte_carlo"},
    "shared_network": {"shared_network": True},
    "two_rates": {"vf_learning_rate": 1e-4},
    "state_dependent": {"std": "state_dependent"},
    "gsde": {"std": "gsde"},
    "squash_actions": {"squash_actions": True},
    "target_kl": {"target_kl": 1e9},
    "clip_value_loss": {"clip_value_loss": True},
    "recompute": {"recompute_advantage": True},
    "over_rollout": {"normalize_advantage": "rollout"},
    "annealed": {"anneal_clip_coef": True, "anneal_ent_coef": True, "ent_coef": 0.01},
}
SWITCHES = [("dqn", s) for s in DQN_SWITCHES] + [("ppo", s) for s in PPO_SWITCHES]
CONTINUOUS = {"state_dependent", "gsde", "squash_actions"}


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """What the imports have made is not looked at each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Calls(TorchDispatchMode):
    """Counts the operations that reach torch's dispatcher."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen[func.overloadpacket._qualified_op_name] += 1
        return func(*args, **(kwargs or {}))


class Library:
    """Stands in for the compiler: the library is one call whatever it holds, and counts its calls."""

    def __init__(self):
        self.calls = self.made = 0

    def __call__(self, function, arguments, changing):
        metrics = [row[None].numpy() for row in function(*copied(arguments))]
        self.made += 1

        def run(*arguments):
            self.calls += 1
            assert not any(a.requires_grad for a in arguments)  # a graph of what came before it
            return metrics

        return run


class Loop:
    def __init__(self, name, num_envs=1, compiled=True, changes=None, env_id="CartPole-v1", **env):
        self.envs = VectorEnv(env_config(env_id, num_envs=num_envs, **env), [1] * num_envs)
        cfg = settings(name, **SMALL[name] | (changes or {}))
        self.algo = algos.load(name)(cfg, self.envs.spec, 10_000, 0, torch.device("cpu"))
        self.library = Library()
        if compiled:
            self.algo.learner.compile_with(self.library)
        self.obs, self.at = self.envs.reset(), 0

    def step(self):
        action = self.algo.act(self.obs, self.at)
        transition, self.obs = self.envs.step(action)
        self.algo.observe(transition)
        self.at += len(action)
        return self.algo.update(self.at)


def switched(name, switch, compiled=True, **more):
    """A loop with one switch of the algorithm set."""
    changes = (DQN_SWITCHES if name == "dqn" else PPO_SWITCHES)[switch]
    env_id = "Pendulum-v1" if switch in CONTINUOUS else "CartPole-v1"
    return Loop(name, 1, compiled, changes | more, env_id)


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


def test_a_dqn_step_calls_the_library_alone():
    """The library is one call; beside it nothing of torch is at work."""
    loop = warm(Loop("dqn"), 40)
    for _ in range(10):
        with Calls() as calls:
            assert loop.step() is not None
        assert not calls.seen


def test_a_rollout_is_learned_from_in_few_calls_beside_the_library():
    loop = warm(Loop("ppo"), 32 + 31)
    with Calls() as calls:
        assert loop.step() is not None
    assert sum(calls.seen.values()) <= 45, calls.seen


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


WAITS = {
    ("dqn", "proportional"): {"cpu": 1},
    ("dqn", "softmax"): {"cpu": 1},
    ("dqn", "rainbow"): {"cpu": 1},
    ("ppo", "recompute"): {"tolist": 4},
}
"""Of an update beside the library: priorities are looked up on the host, and returns are summed in
Python, two arrays each time, however many the minibatches."""
CALLS = {
    ("dqn", "noisy"): 2,  # the noise becomes a tensor
    ("dqn", "proportional"): 7,  # so do weights and positions, and TD errors for a moment
    ("dqn", "softmax"): 7,
    ("dqn", "rainbow"): 8,
    ("ppo", "recompute"): 70,  # values and returns once more
}


LIBRARY = {"target_kl": 1 + 2, "recompute": 2 + 2}
"""Its calls of an update: PPO's rating of the rollout and its minibatches; each epoch's, where something
is to be seen to in between."""


class Asked:
    """What is asked of torch within: of its dispatcher, for a tensor's value, for a gradient."""

    def __init__(self, monkeypatch):
        self.calls, self.waits = Calls(), Counter()
        for ask in ("item", "tolist", "cpu", "__float__", "__int__", "__bool__"):
            plain = getattr(torch.Tensor, ask)
            monkeypatch.setattr(torch.Tensor, ask, self.counted(ask, plain))
        for owner, name in ((torch.autograd, "grad"), (torch.Tensor, "backward")):
            monkeypatch.setattr(owner, name, self.counted("a gradient", getattr(owner, name)))

    def counted(self, ask, plain):
        def asked(*args, **kwargs):
            self.waits[ask] += 1
            return plain(*args, **kwargs)

        return asked

    def step(self, loop):
        """-> metrics or None, calls of torch, waits."""
        self.calls.seen.clear()
        self.waits.clear()
        with self.calls:
            metrics = loop.step()
        return metrics, sum(self.calls.seen.values()), dict(self.waits)


@pytest.mark.parametrize(("name", "switch"), SWITCHES)
def test_a_step_is_silent_or_calls_the_library(name, switch, monkeypatch):
    """An update is a call or two of a library, whatever is switched on.

    A step without one asks nothing of torch; beside an update arrays become tensors, and of a rollout
    values and returns are computed; no gradient is taken.
    """
    more, steps = ({"train_every": 5}, 50) if name == "dqn" else ({}, 33)
    loop = warm(switched(name, switch, **more), steps)
    asked, learned, made = Asked(monkeypatch), 0, loop.library.made
    for _ in range(32):
        before = loop.library.calls
        metrics, calls, waits = asked.step(loop)
        if metrics is None:
            assert (calls, waits, loop.library.calls) == (0, {}, before)
            continue
        learned += 1
        assert loop.library.calls == before + LIBRARY.get(switch, 1 if name == "dqn" else 2)
        assert calls <= CALLS.get((name, switch), 0 if name == "dqn" else 45), asked.calls.seen
        assert waits == WAITS.get((name, switch), {} if name == "dqn" else {"tolist": 2})
        assert not any(torch.as_tensor(value).requires_grad for value in metrics.values())
    assert learned == (6 if name == "dqn" else 1)
    assert loop.library.made == made == (1 if name == "dqn" else 2)


def test_a_further_minibatch_costs_nothing_beside_the_library(monkeypatch):
    asked, calls = Asked(monkeypatch), []
    for size in (16, 8):
        loop = warm(switched("ppo", "default", minibatch_size=size), 63)
        calls.append(asked.step(loop)[1])
    assert calls[1] == calls[0]


WHOLE = ("quantile", "sarsa", "expected_sarsa", "no_target", "max_grad_value", "q_l1", "rainbow")


@pytest.mark.parametrize("switch", WHOLE)
def test_one_graph_holds_the_whole_update(switch):
    """Traced once, at the first update, it goes on as the plain one does: nothing in it is of its time."""
    plain, traced = (switched("dqn", switch, compiled=False) for _ in range(2))
    traced.algo.learner.compile_with(
        lambda function, arguments, changing: eager_loop(
            trace(function, copied(arguments)), changing
        )
    )
    for loop in (plain, traced):
        warm(loop, 50)
    assert traced.algo.learner.is_compiled
    assert plain.algo.learner.updates == traced.algo.learner.updates > 10
    torch.testing.assert_close(
        traced.algo.learner.flat, plain.algo.learner.flat, rtol=1e-3, atol=2e-5
    )


def growth(loop, steps):
    """Bytes that are held more after some steps than before, and more at most on the way."""
    loop.envs.take_episodes()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        warm(loop, steps)
        loop.envs.take_episodes()
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    actions = sum(len(rows) for rows in loop.envs.actions)
    return after - before - 200 * actions, peak - before


@pytest.mark.parametrize(("name", "num_envs"), [("dqn", 1), ("dqn", 3), ("ppo", 1), ("ppo", 3)])
def test_memory_stands_still(name, num_envs):
    """Beside the actions of the episodes under way, which are part of the state, nothing grows."""
    held, peak = growth(warm(Loop(name, num_envs), 300), 400)
    # numpy keeps small blocks for the next array, some ten thousand bytes; an array a step: 27,000
    assert held < 20_000
    assert peak < 80_000


KEEPING = ("proportional", "softmax", "n_step", "sarsa", "noisy", "epsilon_factor", "rainbow")
KEEPING += ("monte_carlo", "state_dependent", "gsde", "target_kl", "recompute")
"""Switches that do something outside the library, and might keep what they did it with."""


@pytest.mark.parametrize(("name", "switch"), [s for s in SWITCHES if s[1] in KEEPING])
def test_memory_stands_still_whatever_is_switched_on(name, switch):
    held, peak = growth(warm(switched(name, switch), 150), 600)
    assert (
        held < 45_000
    )  # it comes and goes by twenty; an array kept each step would be 67 and more
    assert peak < 150_000  # with the actions and the ended episodes that nobody takes here
