"""Optimizers against those of PyTorch, step sizes and intervals of single parameters."""

import pytest
import torch

from rl_cli.engine.learner import Learner
from rl_cli.engine.optimizers import Adam, AdamW, RMSProp
from tests.conftest import FULL
from tests.engine.test_compiler import compiler, needs_compiler
from tests.engine.test_learner import data, regression, weights

CPU = torch.device("cpu")
THEIRS = {
    "adam": (Adam(1e-5), lambda p, lr: torch.optim.Adam(p, lr, eps=1e-5)),
    "adamw": (AdamW(1e-5, 0.1), lambda p, lr: torch.optim.AdamW(p, lr, eps=1e-5, weight_decay=0.1)),
    "rmsprop": (RMSProp(1e-5), lambda p, lr: torch.optim.RMSprop(p, lr, eps=1e-5)),
}
FACTORS = {"out.weight": 0.1, "scale": 0.0}
INTERVALS = {"hidden.weight": 2, "hidden.bias": 2, "scale": 3}


def learner(optimizer, **more):
    return Learner(
        weights(), regression, optimizer=optimizer, max_grad_norm=None, device=CPU, **more
    )


def oracle(make, factors, intervals):
    """A function (step, learning rate) that updates, with an optimizer of PyTorch's for each parameter."""
    params = {name: value.clone().requires_grad_() for name, value in weights().items()}
    each = {name: make([value], 1.0) for name, value in params.items()}

    def update(step, learning_rate):
        loss, _ = regression(params, *data(step))
        for value in params.values():
            value.grad = None
        loss.backward()
        for name, optimizer in each.items():
            optimizer.param_groups[0]["lr"] = learning_rate * factors.get(name, 1.0)
            if step % intervals.get(name, 1) == 0:
                optimizer.step()
        return params

    return update


@pytest.mark.parametrize("intervals", [{}, INTERVALS])
@pytest.mark.parametrize("factors", [{}, FACTORS])
@pytest.mark.parametrize("name", THEIRS)
def test_updates_equal_those_of_pytorch(name, factors, intervals):
    """A parameter with an interval changes in updates 0, d, 2d ..., as if it saw those gradients alone."""
    ours, make = THEIRS[name]
    tested = learner(ours, rate_factors=factors, intervals=intervals)
    expected = oracle(make, factors, intervals)
    for step in range(12):
        learning_rate = 0.01 * (1 - step / 20)
        tested.update(*data(step), learning_rate=learning_rate)
        for name_, value in expected(step, learning_rate).items():
            torch.testing.assert_close(tested.params[name_].detach(), value.detach())


def test_parameter_that_is_not_due_keeps_its_bits():
    tested = learner(AdamW(1e-5, 0.5), intervals=INTERVALS)
    tested.update(*data(0), learning_rate=0.01)
    before = {name: value.detach().clone() for name, value in tested.params.items()}
    tested.update(*data(1), learning_rate=0.01)
    same = {name for name, value in tested.params.items() if torch.equal(value, before[name])}
    assert same == set(INTERVALS)


def test_resumed_updates_equal_uninterrupted_ones():
    whole, part = (learner(RMSProp(1e-5), intervals=INTERVALS) for _ in range(2))
    for step in range(5):
        whole.update(*data(step), learning_rate=0.01)
        if step < 3:
            part.update(*data(step), learning_rate=0.01)
    resumed = learner(RMSProp(1e-5), intervals=INTERVALS)
    resumed.load_policy(part.policy_state())
    resumed.load_state_dict(part.state_dict())
    for step in (3, 4):
        resumed.update(*data(step), learning_rate=0.01)
    assert torch.equal(resumed.flat, whole.flat)


@needs_compiler
@pytest.mark.skipif(not FULL, reason="compiles a library per optimizer; long form")
@pytest.mark.parametrize("name", THEIRS)
def test_compiled_updates_equal_plain_ones(name, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain, compiled = (learner(THEIRS[name][0], intervals=INTERVALS) for _ in range(2))
    compiled.compile_with(compiler([]))
    for step in range(7):
        for each in (plain, compiled):
            each.update(*data(step), learning_rate=0.01)
    assert compiled.is_compiled
    torch.testing.assert_close(compiled.flat, plain.flat)
