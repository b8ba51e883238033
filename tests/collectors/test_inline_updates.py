"""Inline updates: the bits of `Algorithm.update`, when they are made, and how they fail."""

import ctypes

import numpy as np
import pytest
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.core.errors import NonFinite
from tests.collectors.loop import BUDGET, Loop, assert_same_bits
from tests.collectors.test_native import compiled, make_eager, recorded_collectors
from tests.conftest import FULL
from tests.engine.test_compiler import needs_compiler
from tests.training.test_trainer import run

pytestmark = needs_compiler

WRAPS = {"buffer_size": 200}  # all cases share it: libraries are compiled by size


def learning(native, changes=None, compiled=True, **more):
    changes = WRAPS | (changes or {})
    return Loop("dqn", "CartPole-v1", native, changes=changes, compiled=compiled, **more)


CASES = [
    {},
    {"num_envs": 3},
    {"num_envs": 3, "changes": {"train_every": 3, "target_update_every": 50}},
    {"changes": {"train_every": 1, "anneal_learning_rate": True}},
    {"changes": {"gradient_steps": 3, "train_every": 4, "epsilon_decay": "exponential"}},
    {"normalize_obs": True, "changes": {"train_every": 2, "tau": 0.1}},
    {"num_envs": 3, "normalize_obs": True},
    {"changes": {"train_every": 2, "target_update_every": 2, "tau": 0.01}},
    # the target also moves between updates
    {"changes": {"train_every": 4, "target_update_every": 7, "tau": 0.3}},
    # three times in a step of all envs
    {"num_envs": 3, "changes": {"train_every": 3, "target_update_every": 1, "tau": 0.2}},
]
if FULL:  # libraries of their own
    CASES += [
        {"changes": {"train_every": 2, "target_update_every": 0}},
        {"sign_reward": True, "changes": {"train_every": 2, "target_update_every": 3, "tau": 0.5}},
    ]


@pytest.mark.parametrize("more", CASES)
def test_inline_updates_equal_update_to_the_bit(more):
    """Weights, replay, generators, counts, metrics; also where a run changes from one to the other."""
    eager, native, mixed = (learning(on, **more) for on in (False, True, True))
    for until in (50, 301, 703, BUDGET):
        if until == 703:
            mixed.collector = mixed.eager
        for loop in (eager, native, mixed):
            loop.run(until)
        assert_same_bits(eager.state(), native.state())
        assert_same_bits(eager.state(), mixed.state())
    assert eager.metrics == native.metrics == mixed.metrics
    assert len(eager.metrics) == eager.algo.learner.updates > 100
    assert eager.inline_updates == 0
    assert mixed.inline_updates > 0
    assert native.inline_updates > len(native.metrics) / 2  # the others are due where a call ends


def test_two_updates_in_a_step_of_all_envs_are_left_to_update():
    assert learning(True, num_envs=3, changes={"train_every": 2}).collector.inline is None


def test_updates_that_are_not_compiled_are_left_to_update():
    loop = learning(True, compiled=False).run(301)
    assert loop.algo.learner.updates > 0
    assert loop.inline_updates == 0


def ready():
    loop = learning(True, changes={"train_every": 1, "target_update_every": 500}).run(301)
    assert loop.collector.inline.ready()
    return loop


def test_after_an_update_on_other_batches_the_next_is_left_to_update():
    """The compiled step at hand is for batches of another size, until `update` prepares its own."""
    loop = ready()
    rows = loop.algo.replay.sample(16, loop.algo.sample_rng, batches=2)
    loop.algo.learner.update(rows, 0.1, learning_rate=1e-3)
    assert not loop.collector.inline.ready()
    loop.algo.update(302)
    assert loop.collector.inline.ready()


def test_collection_ends_at_a_gradient_that_is_not_finite():
    """With its metrics; the update is counted and not made again by `update`."""
    loop = ready()
    with torch.no_grad():
        loop.algo.learner.flat[0] = torch.nan
    updates = loop.algo.learner.updates
    steps, metrics = loop.collector.collect(301, 400)
    assert steps == 1
    assert np.isnan(metrics["grad_norm"]).tolist() == [True]
    assert loop.algo.update(302) is None
    assert loop.algo.learner.updates == updates + 1


def test_target_network_stays_as_it_is_after_a_gradient_that_is_not_finite():
    loop = learning(True, changes={"train_every": 1, "target_update_every": 1}).run(301)
    target = loop.algo.learner.flat_target.clone()
    with torch.no_grad():
        loop.algo.learner.flat[0] = torch.nan
    assert loop.collector.collect(301, 400).steps == 1
    assert torch.equal(loop.algo.learner.flat_target, target)


def test_signal_during_a_round_of_updates_ends_the_collection_after_the_next_step():
    """With 100 gradient steps after each env step: one round is made, not hundreds."""
    changes = {"train_every": 1, "target_update_every": 500, "gradient_steps": 100}
    loop = learning(True, changes=changes).run(101)
    before = loop.algo.learner.updates
    loop.collector.interrupted = lambda: loop.algo.learner.updates > before
    steps, metrics = loop.collector.collect(101, 501)
    assert steps == 2
    assert len(metrics["loss"]) == 100


def test_failure_of_the_compiled_step_is_raised():
    loop = ready()
    failing = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(lambda *_: 1)
    loop.collector.inline.struct.run = ctypes.cast(failing, ctypes.c_void_p).value
    with pytest.raises(RuntimeError, match="the compiled update step failed"):
        loop.collector.collect(301, 400)


@pytest.mark.skipif(not FULL, reason="long; set RL_CLI_BARS=full")
def test_not_finite_gradient_is_reported_at_the_same_step_by_either_collector(
    here, tiny, monkeypatch
):
    words = [word for word in compiled(tiny) if not word.startswith("checkpoint")]
    words += ["checkpoint.every=0", "algo.hidden_sizes=[16]"]
    words += ["algo.learning_starts=50", "algo.train_every=2", "algo.target_update_every=200"]
    rate = lambda _, step: np.nan if step > 270 else 1e-3  # noqa: E731
    monkeypatch.setattr(Algorithm, "learning_rate", rate)
    where, made = [], recorded_collectors(monkeypatch)
    for name in ("native", "eager"):
        with pytest.raises(NonFinite) as caught:
            run(here, name, *words)
        where.append(caught.value.where)
        recorded_collectors(monkeypatch, make_eager)
    assert any(collected.metrics is not None for collected in made[0].collected)
    assert where[0] == where[1] == "step=274, train/grad_norm"
