"""Cheaper operations and hoisted constants compute the same functions."""

import math

import torch

from rl_cli.engine.hoisting import hoist_constants
from rl_cli.engine.tracing import narrow_product, rational_tanh, trace


def test_rational_tanh_error_is_below_5e_7():
    x = torch.linspace(-20, 20, 400_001)
    assert (rational_tanh(x) - torch.tanh(x)).abs().max() < 5e-7
    small = torch.logspace(-8, -2, 1_000)
    assert ((rational_tanh(small) - small.tanh()) / small).abs().max() < 5e-7
    assert math.isnan(rational_tanh(torch.tensor(math.nan)))


def test_narrow_product_equals_matmul():
    a, b = torch.randn(40, 7), torch.randn(7, 3)
    torch.testing.assert_close(narrow_product(a, b), a @ b)
    assert narrow_product(torch.randn(4, 7), b) is NotImplemented
    assert narrow_product(a, torch.randn(7, 40)) is NotImplemented


def test_hyper_parameters_become_an_argument():
    """Only in products and quotients, each value once; the function stays the same."""

    def function(x, y):
        return [(x * 0.9 + 0.2) / 0.7 - 3.0, y.clamp(-0.9, 0.9) * 1.0, x * 0.9]

    x, y = torch.tensor([1.0, 2.0]), torch.tensor([-2.0, 0.5])
    graph = trace(function, [x, y])
    assert hoist_constants(graph, {0.9, 0.7, 0.2}) == [0.9, 0.7]
    before, after = function(x, y), graph(x, y, torch.tensor([0.9, 0.7]))
    assert all(map(torch.equal, before, after))
    other = graph(x, y, torch.tensor([0.5, 2.0]))
    torch.testing.assert_close(other[0], (x * 0.5 + 0.2) / 2.0 - 3.0)
    assert torch.equal(other[1], before[1])
    assert other[2].tolist() == [0.5, 1.0]


def test_graph_without_hyper_parameters_is_unchanged():
    graph = trace(lambda x: [x * 0.9], [torch.ones(2)])
    text = graph.code
    assert hoist_constants(graph, {0.3}) == []
    assert graph.code == text
