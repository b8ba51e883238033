"""Record a function of tensors, gradient included, as a graph of torch operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rl_cli.engine.functions import Function


def trace(function: Function, arguments: list[torch.Tensor]) -> torch.fx.GraphModule:
    """The operations that the function runs on these arguments, with cheaper ones substituted."""
    from torch.fx.experimental.proxy_tensor import make_fx

    aten = torch.ops.aten
    cheaper: dict[Any, Callable[..., Any]] = {
        aten.tanh.default: rational_tanh,
        aten.mm.default: narrow_product,
    }
    return make_fx(function, decomposition_table=cheaper)(*arguments)


TANH_ODD = (0.99999990637, 0.13373199054, 3.4865834330e-3, 2.0471853138e-5, 1.3184250320e-8)

TANH_EVEN = (1.0, 0.46706495922, 2.5841985236e-2, 3.2713877851e-4, 7.7026753326e-7)

TANH_END = 9.0


def rational_tanh(x: torch.Tensor) -> torch.Tensor:
    """Hyperbolic tangent with an error of at most 4e-7, in 20 operations that fuse with others.

    x P(x^2) / Q(x^2), fitted by iterated least squares on [0, 9]; beyond, tanh is 1 in float32.
    """
    x = x.clamp(-TANH_END, TANH_END)
    square = x * x
    odd: torch.Tensor | float = TANH_ODD[-1]
    even: torch.Tensor | float = TANH_EVEN[-1]
    for p, q in zip(TANH_ODD[-2::-1], TANH_EVEN[-2::-1], strict=True):
        odd, even = odd * square + p, even * square + q
    return x * odd / even


NARROW = 16
"""Columns up to which the product of the transposed factors is faster in MKL."""


def narrow_product(a: torch.Tensor, b: torch.Tensor) -> Any:
    """(m, k) (k, n) -> (m, n) for small n, as in the gradient of a first layer."""
    if b.shape[1] <= NARROW < a.shape[0]:
        return torch.mm(b.t(), a.t()).t()
    return NotImplemented


def constants_of(graph: torch.fx.GraphModule) -> dict[str, torch.Tensor]:
    """The graph's constant tensors, by name."""
    named = {k: v for k, v in vars(graph).items() if isinstance(v, torch.Tensor)}
    return named | dict(graph.named_buffers()) | dict(graph.named_parameters())


def arithmetic(graph: torch.fx.GraphModule) -> str:
    """The operations and all constants, as text. Equal texts compute equal functions."""
    constants = constants_of(graph)
    return graph.code + str({name: value.tolist() for name, value in constants.items()})
