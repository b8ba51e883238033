"""Cost of a training step, counted and not timed: torch operations, device syncs, memory."""

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
def frozen_imports():
    """Garbage collections skip the objects that imports created."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Calls(TorchDispatchMode):
    """Counts the operations that reach torch's dispatcher, by name."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen[func.overloadpacket._qualified_op_name] += 1
        return func(*args, **(kwargs or {}))


class Library:
    """A fake compiler: a compiled step runs the plain function once, and counts its calls."""

    def __init__(self):
        self.calls = self.made = 0

    def __call__(self, function, arguments, changing):
        metrics = [row[None].numpy() for row in function(*copied(arguments))]
        self.made += 1

        def run(*arguments):
            self.calls += 1
            assert not any(a.requires_grad for a in arguments)  # else the caller built a graph
            return metrics

        return run


class Loop:
    """Env steps and updates, as the trainer makes them."""

    def __init__(self, name, num_envs=1, compiled=True, changes=None, env_id="CartPole-v1", **env):
        self.envs = VectorEnv(env_config(env_id, num_envs=num_envs, **env), [1] * num_envs)
        cfg = settings(name, **SMALL[name] | (changes or {}))
        self.algo = algos.load(name)(cfg, self.envs.spec, 10_000, 0, torch.device("cpu"))
        self.library = Library()
        if compiled:
            self.algo.learner.compile_with(self.library)
        self.obs, self.steps = self.envs.reset(), 0

    def step(self):
        action = self.algo.act(self.obs, self.steps)
        transition, self.obs = self.envs.step(action)
        self.algo.observe(transition)
        self.steps += len(action)
        return self.algo.update(self.steps)


def switched(name, switch, compiled=True, **more):
    """A loop with one option of the algorithm switched on."""
    changes = (DQN_SWITCHES if name == "dqn" else PPO_SWITCHES)[switch]
    env_id = "Pendulum-v1" if switch in CONTINUOUS else "CartPole-v1"
    return Loop(name, 1, compiled, changes | more, env_id)


def warm(loop, steps):
    """Take steps. -> the loop."""
    for _ in range(steps):
        loop.step()
    return loop


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("env", [{}, {"normalize_obs": True, "normalize_reward": True}])
def test_step_without_update_calls_no_torch_operation(name, env):
    loop = Loop(name, **env)
    for _ in range(15):
        with Calls() as calls:
            assert loop.step() is None
        assert not calls.seen


def test_dqn_update_calls_no_torch_operation_outside_the_compiled_step():
    loop = warm(Loop("dqn"), 40)
    for _ in range(10):
        with Calls() as calls:
            assert loop.step() is not None
        assert not calls.seen


def test_ppo_update_calls_few_torch_operations_outside_the_compiled_step():
    loop = warm(Loop("ppo"), 32 + 31)
    with Calls() as calls:
        assert loop.step() is not None
    assert sum(calls.seen.values()) <= 49, calls.seen


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("compiled", [True, False])
def test_update_reads_no_value_of_a_tensor(name, compiled, monkeypatch):
    """On a GPU each of these methods waits until all queued operations are complete."""
    loop = warm(Loop(name, compiled=compiled), 31 if name == "ppo" else 40)
    loop.algo.act(loop.obs, loop.steps)

    def refuse(self, *args):
        raise AssertionError("the loop read the value of a tensor")

    for method in ("item", "__float__", "__int__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, method, refuse)
    assert loop.step() is not None


WAITS = {
    ("dqn", "proportional"): {"cpu": 1},
    ("dqn", "softmax"): {"cpu": 1},
    ("dqn", "rainbow"): {"cpu": 1},
    ("ppo", "recompute"): {"tolist": 4},
}
"""Device syncs of an update outside the compiled step: priorities are read on the host, and returns are
computed in Python, from two arrays, for any number of minibatches."""
CALLS = {
    ("dqn", "noisy"): 2,  # the noise is converted to a tensor
    ("dqn", "proportional"): 7,  # weights, indices and TD errors are converted
    ("dqn", "softmax"): 7,
    ("dqn", "rainbow"): 8,
    ("ppo", "recompute"): 70,  # values and returns are computed again
}
"""Largest number of torch operations of an update outside the compiled step."""
LIBRARY = {"target_kl": 1 + 2, "recompute": 2 + 2}
"""Compiled calls of an update: PPO evaluates the rollout, then runs all minibatches in one call, or one
call per epoch where Python runs between two epochs."""


class TorchUse:
    """Counts torch operations, reads of tensor values, and gradients taken, of one step."""

    def __init__(self, monkeypatch):
        self.calls, self.waits = Calls(), Counter()
        for method in ("item", "tolist", "cpu", "__float__", "__int__", "__bool__"):
            original = getattr(torch.Tensor, method)
            monkeypatch.setattr(torch.Tensor, method, self.counted(method, original))
        for owner, name in ((torch.autograd, "grad"), (torch.Tensor, "backward")):
            monkeypatch.setattr(owner, name, self.counted("a gradient", getattr(owner, name)))

    def counted(self, name, original):
        def counting(*args, **kwargs):
            self.waits[name] += 1
            return original(*args, **kwargs)

        return counting

    def step(self, loop):
        """-> metrics or None, number of torch operations, syncs by method."""
        self.calls.seen.clear()
        self.waits.clear()
        with self.calls:
            metrics = loop.step()
        return metrics, sum(self.calls.seen.values()), dict(self.waits)


@pytest.mark.parametrize(("name", "switch"), SWITCHES)
def test_step_uses_no_torch_and_an_update_only_the_compiled_step(name, switch, monkeypatch):
    """With every option an update is one or two compiled calls.

    Outside of them arrays are converted to tensors, and PPO computes values and returns; no gradient is
    taken. A step without an update calls no torch operation.
    """
    more, steps = ({"train_every": 5}, 50) if name == "dqn" else ({}, 33)
    loop = warm(switched(name, switch, **more), steps)
    use, updates, made = TorchUse(monkeypatch), 0, loop.library.made
    for _ in range(32):
        before = loop.library.calls
        metrics, calls, waits = use.step(loop)
        if metrics is None:
            assert (calls, waits, loop.library.calls) == (0, {}, before)
            continue
        updates += 1
        assert loop.library.calls == before + LIBRARY.get(switch, 1 if name == "dqn" else 2)
        assert calls <= CALLS.get((name, switch), 0 if name == "dqn" else 49), use.calls.seen
        assert waits == WAITS.get((name, switch), {} if name == "dqn" else {"tolist": 2})
        assert not any(torch.as_tensor(value).requires_grad for value in metrics.values())
    assert updates == (6 if name == "dqn" else 1)
    assert loop.library.made == made == (1 if name == "dqn" else 2)


def test_number_of_minibatches_does_not_change_the_torch_operations(monkeypatch):
    use, calls = TorchUse(monkeypatch), []
    for size in (16, 8):
        loop = warm(switched("ppo", "default", minibatch_size=size), 63)
        calls.append(use.step(loop)[1])
    assert calls[1] == calls[0]


WHOLE = ("quantile", "sarsa", "expected_sarsa", "no_target", "max_grad_value", "q_l1", "rainbow")


@pytest.mark.parametrize("switch", WHOLE)
def test_step_traced_at_the_first_update_equals_the_plain_step_at_later_ones(switch):
    """No value of the first update is a constant of the graph."""
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
    """Growth of allocated bytes over some steps, and its peak; without actions of unfinished episodes."""
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
def test_memory_does_not_grow(name, num_envs):
    """Except for the actions of unfinished episodes, which are part of the state."""
    held, peak = growth(warm(Loop(name, num_envs), 300), 400)
    # numpy caches about 10,000 bytes of small blocks; one array kept per step would be 27,000
    assert held < 20_000
    assert peak < 80_000


KEEPING = ("proportional", "softmax", "n_step", "sarsa", "noisy", "epsilon_factor", "rainbow")
KEEPING += ("monte_carlo", "state_dependent", "gsde", "target_kl", "recompute")
"""Options that run Python code in an update, which might keep arrays."""


@pytest.mark.parametrize(("name", "switch"), [s for s in SWITCHES if s[1] in KEEPING])
def test_memory_does_not_grow_with_options_that_run_python_code(name, switch):
    held, peak = growth(warm(switched(name, switch), 150), 600)
    assert held < 45_000  # it varies by 20,000; one array kept per step would be 67,000
    assert peak < 150_000  # with actions and finished episodes, which are not taken here
