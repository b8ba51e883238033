"""policy.pt2: a program of torch.export, for Python and C++ with torch."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_cli.export.base import Exporter
from rl_cli.export.graph import Graph, Value
from rl_cli.models.activation import EPSILON
from rl_cli.storage.atomic_files import write_atomic


class Pt2(Exporter):
    """A program of torch.export; torch.jit is deprecated since torch 2.5."""

    def export(self) -> list[Path]:
        graph = self.context.traced.graph
        data = make_program(graph, self.context.facts())
        loaded = torch.export.load(io.BytesIO(data)).module()
        names = list(graph.outputs)

        def run(obs: np.ndarray) -> dict[str, np.ndarray]:
            found = loaded(torch.from_numpy(obs))
            return {k: v.numpy() for k, v in zip(names, found, strict=True)}

        self.report(self.context.compare(run), f"torch {torch.__version__}")
        path = self.context.output / "policy.pt2"
        write_atomic(path, data)
        return [path]


def make_program(graph: Graph, facts: dict[str, Any]) -> bytes:
    """The bytes of a program with the input obs (batch, *obs_shape) and the outputs of the graph."""
    example = torch.zeros((2, *graph.obs.shape), dtype=_dtype(graph.obs.dtype))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        program = torch.export.export(
            GraphModule(graph),
            (example,),
            dynamic_shapes={"obs": {0: torch.export.Dim("batch")}},
        )
        torch.export.save(program, file, extra_files={"policy.json": json.dumps(facts)})
    return file.getvalue()


class GraphModule(torch.nn.Module):
    """A graph as a module of torch. (B, *obs_shape) -> the outputs, in the order of the graph."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        for i, value in enumerate(graph.values):
            for j, array in enumerate(value.arrays):
                # a tensor () would become a constant of Python, which has no dtype
                self.register_buffer(f"w{i}_{j}", torch.tensor(array))

    def forward(self, obs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: list[torch.Tensor] = []
        for i, value in enumerate(self.graph.values):
            inputs = [obs] if value.op == "input" else [found[k] for k in value.inputs]
            weights = [getattr(self, f"w{i}_{j}") for j in range(len(value.arrays))]
            found.append(OPERATIONS[value.op](value, *inputs, *weights))
        return tuple(found[i] for i in self.graph.outputs.values())


def _dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype


def _dueling(value: Value, state: torch.Tensor, advantage: torch.Tensor) -> torch.Tensor:
    actions, atoms = value.numbers
    advantage = advantage.reshape(-1, actions, atoms)
    centered = advantage - advantage.mean(1, keepdim=True)
    return (state.unsqueeze(1) + centered).flatten(1)


def _expectation(value: Value, x: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    share = x.reshape(-1, *value.shape, len(support)).softmax(-1)
    return (share * support).sum(-1)


OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "input": lambda value, x: x,
    "cast": lambda value, x: x.to(_dtype(value.dtype)),
    "add": lambda value, x, w: x + w,
    "subtract": lambda value, x, w: x - w,
    "multiply": lambda value, x, w: x * w,
    "divide": lambda value, x, w: x / w,
    "minimum": lambda value, x, w: torch.minimum(x, w),
    "maximum": lambda value, x, w: torch.maximum(x, w),
    "round": lambda value, x: x.round(),
    "relu": lambda value, x: x.relu(),
    "tanh": lambda value, x: x.tanh(),
    "layer_norm": lambda value, x: torch.nn.functional.layer_norm(x, value.shape, eps=EPSILON),
    "linear": lambda value, x, w, b: torch.nn.functional.linear(x, w, b),
    "conv": lambda value, x, w, b: torch.nn.functional.conv2d(x, w, b, *value.numbers),
    "max_pool": lambda value, x: torch.nn.functional.max_pool2d(x, *value.numbers),
    "sum": lambda value, x, y: x + y,
    "concat": lambda value, *parts: torch.cat(parts, -1),
    "reshape": lambda value, x: x.reshape(-1, *value.shape),
    "part": lambda value, x: x[:, value.numbers[0] : value.numbers[1]],
    "dueling": _dueling,
    "expectation": _expectation,
    "group_mean": lambda value, x: x.reshape(-1, *value.shape, *value.numbers).mean(-1),
    "argmax": lambda value, x: x.argmax(-1),
    "stack": lambda value, *parts: torch.stack(parts, -1),
}
"""Name of an operation -> function of the value, its inputs (B, ...) and its weights."""
