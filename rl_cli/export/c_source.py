"""A graph as C99 source: one statement or loop per operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rl_cli.core.errors import BadInput
from rl_cli.export.graph import Graph, Value
from rl_cli.models.activation import EPSILON

TYPES = {
    "float32": "float",
    "float64": "double",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""Dtype of numpy -> type of C."""

PER_LINE = 8
"""Numbers in one line of an array."""


def c_type(dtype: np.dtype[Any]) -> str:
    """The type of C for a dtype. Raises BadInput: there is none."""
    try:
        return TYPES[dtype.name]
    except KeyError:
        raise BadInput(f"C has no type for {dtype.name}", "format=c", "use format=onnx") from None


def literal(number: Any, kind: str) -> str:
    """A number in C that reads back as the same bits."""
    if kind not in ("float", "double"):
        return str(int(number))
    number = float(number)
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    text = f"{number:.9g}" if kind == "float" else repr(number)
    text = text if set(text) & {".", "e", "n"} else f"{text}.0"
    return f"{text}f" if kind == "float" else text


def array(name: str, values: np.ndarray) -> Iterator[str]:
    """Lines that define a constant array."""
    kind = c_type(values.dtype)
    flat = values.reshape(-1).tolist()
    yield f"static const {kind} {name}[{len(flat)}] = {{"
    for i in range(0, len(flat), PER_LINE):
        yield f"  {', '.join(literal(x, kind) for x in flat[i : i + PER_LINE])},"
    yield "};"


def weights(graph: Graph) -> Iterator[str]:
    """Lines that define the weights: policy_w<value>_<number>."""
    for i, value in enumerate(graph.values):
        for j, each in enumerate(value.arrays):
            yield from array(f"policy_w{i}_{j}", each)


def body(graph: Graph) -> Iterator[str]:
    """Lines that compute every value from `obs` and write the outputs."""
    for i, value in enumerate(graph.values):
        if value.op == "input":
            yield "const policy_obs_t *const v0 = obs;"
        elif value.op == "reshape":
            yield f"const {c_type(value.dtype)} *const v{i} = v{value.inputs[0]};"
        elif value.op == "part":
            yield f"const {c_type(value.dtype)} *const v{i} = v{value.inputs[0]} + {value.numbers[0]};"
        else:
            yield f"{c_type(value.dtype)} v{i}[{math.prod(value.shape)}];"
            yield from LOOPS[value.op](graph, i, value)
    for name, position in graph.outputs.items():
        size = math.prod(graph.values[position].shape)
        copy = f"for (int i = 0; i < {size}; ++i) {name}[i] = v{position}[i];"
        yield f"if (scores) {copy}" if name == "scores" else copy


def _elementwise(pattern: str) -> Callable[[Graph, int, Value], Iterator[str]]:
    """A loop over all numbers. Pattern: x is the number, w the one of the weight, {f} the suffix of math.h."""

    def lines(graph: Graph, i: int, value: Value) -> Iterator[str]:
        kind = c_type(value.dtype)
        expression = pattern.format(kind=kind, f="f" if kind == "float" else "")
        weight = f" const {kind} w = policy_w{i}_0[i];" if value.arrays else ""
        source = c_type(graph.values[value.inputs[0]].dtype)
        yield f"for (int i = 0; i < {math.prod(value.shape)}; ++i) {{"
        yield f"  const {source} x = v{value.inputs[0]}[i];{weight}"
        yield f"  v{i}[i] = {expression};"
        yield "}"

    return lines


def _layer_norm(graph: Graph, i: int, value: Value) -> Iterator[str]:
    (size,), x = value.shape, f"v{value.inputs[0]}"
    yield "{"
    yield "  float mean = 0.0f, variance = 0.0f;"
    yield f"  for (int k = 0; k < {size}; ++k) mean += {x}[k];"
    yield f"  mean /= {size}.0f;"
    yield f"  for (int k = 0; k < {size}; ++k) variance += ({x}[k] - mean) * ({x}[k] - mean);"
    yield f"  const float scale = sqrtf(variance / {size}.0f + {EPSILON}f);"
    yield f"  for (int k = 0; k < {size}; ++k) v{i}[k] = ({x}[k] - mean) / scale;"
    yield "}"


def _linear(graph: Graph, i: int, value: Value) -> Iterator[str]:
    outputs, inputs = value.arrays[0].shape
    yield f"for (int o = 0; o < {outputs}; ++o) {{"
    yield f"  float sum = policy_w{i}_1[o];"
    yield f"  const float *w = policy_w{i}_0 + o * {inputs};"
    yield f"  for (int k = 0; k < {inputs}; ++k) sum += w[k] * v{value.inputs[0]}[k];"
    yield f"  v{i}[o] = sum;"
    yield "}"


def _conv(graph: Graph, i: int, value: Value) -> Iterator[str]:
    channels, height, width = graph.values[value.inputs[0]].shape
    (_, h, w), (_, _, rows, columns) = value.shape, value.arrays[0].shape
    stride, padding = value.numbers
    yield f"for (int o = 0; o < {value.shape[0]}; ++o)"
    yield f"  for (int r = 0; r < {h}; ++r)"
    yield f"    for (int c = 0; c < {w}; ++c) {{"
    yield f"      float sum = policy_w{i}_1[o];"
    yield f"      const float *w = policy_w{i}_0 + o * {channels * rows * columns};"
    yield f"      for (int k = 0; k < {channels}; ++k)"
    yield f"        for (int y = r * {stride} - {padding}; y < r * {stride} - {padding} + {rows}; ++y)"
    yield f"          for (int x = c * {stride} - {padding}; x < c * {stride} - {padding} + {columns}; ++x, ++w)"
    inside = f"if (y >= 0 && y < {height} && x >= 0 && x < {width}) " if padding else ""
    yield f"            {inside}sum += *w * v{value.inputs[0]}[(k * {height} + y) * {width} + x];"
    yield f"      v{i}[(o * {h} + r) * {w} + c] = sum;"
    yield "    }"


def _max_pool(graph: Graph, i: int, value: Value) -> Iterator[str]:
    channels, height, width = graph.values[value.inputs[0]].shape
    (_, h, w), (size, stride, padding) = value.shape, value.numbers
    yield f"for (int k = 0; k < {channels}; ++k)"
    yield f"  for (int r = 0; r < {h}; ++r)"
    yield f"    for (int c = 0; c < {w}; ++c) {{"
    yield "      float top = -INFINITY;"
    yield f"      for (int y = r * {stride} - {padding}; y < r * {stride} - {padding} + {size}; ++y)"
    yield f"        for (int x = c * {stride} - {padding}; x < c * {stride} - {padding} + {size}; ++x)"
    yield f"          if (y >= 0 && y < {height} && x >= 0 && x < {width}) {{"
    yield f"            const float z = v{value.inputs[0]}[(k * {height} + y) * {width} + x];"
    yield "            if (z > top) top = z;"
    yield "          }"
    yield f"      v{i}[(k * {h} + r) * {w} + c] = top;"
    yield "    }"


def _sum(graph: Graph, i: int, value: Value) -> Iterator[str]:
    x, y = value.inputs
    yield f"for (int i = 0; i < {math.prod(value.shape)}; ++i) v{i}[i] = v{x}[i] + v{y}[i];"


def _concat(graph: Graph, i: int, value: Value) -> Iterator[str]:
    begin = 0
    for part in value.inputs:
        (size,) = graph.values[part].shape
        yield f"for (int i = 0; i < {size}; ++i) v{i}[{begin} + i] = v{part}[i];"
        begin += size


def _dueling(graph: Graph, i: int, value: Value) -> Iterator[str]:
    actions, atoms = value.numbers
    state, advantage = value.inputs
    yield f"for (int k = 0; k < {atoms}; ++k) {{"
    yield "  float sum = 0.0f;"
    yield f"  for (int a = 0; a < {actions}; ++a) sum += v{advantage}[a * {atoms} + k];"
    yield f"  for (int a = 0; a < {actions}; ++a)"
    yield f"    v{i}[a * {atoms} + k] = v{state}[k] + (v{advantage}[a * {atoms} + k] - sum / {actions}.0f);"
    yield "}"


def _expectation(graph: Graph, i: int, value: Value) -> Iterator[str]:
    (atoms,), x = value.numbers, f"v{value.inputs[0]}"
    yield f"for (int a = 0; a < {value.shape[0]}; ++a) {{"
    yield f"  const float *z = {x} + a * {atoms};"
    yield "  float top = z[0], total = 0.0f, mean = 0.0f;"
    yield f"  for (int k = 1; k < {atoms}; ++k) if (z[k] > top) top = z[k];"
    yield f"  for (int k = 0; k < {atoms}; ++k) {{"
    yield "    const float e = expf(z[k] - top);"
    yield f"    total += e, mean += e * policy_w{i}_0[k];"
    yield "  }"
    yield f"  v{i}[a] = mean / total;"
    yield "}"


def _group_mean(graph: Graph, i: int, value: Value) -> Iterator[str]:
    (atoms,), x = value.numbers, f"v{value.inputs[0]}"
    yield f"for (int a = 0; a < {value.shape[0]}; ++a) {{"
    yield "  float sum = 0.0f;"
    yield f"  for (int k = 0; k < {atoms}; ++k) sum += {x}[a * {atoms} + k];"
    yield f"  v{i}[a] = sum / {atoms}.0f;"
    yield "}"


def _argmax(graph: Graph, i: int, value: Value) -> Iterator[str]:
    (size,), x = graph.values[value.inputs[0]].shape, f"v{value.inputs[0]}"
    yield f"v{i}[0] = 0;"
    yield f"for (int a = 1; a < {size}; ++a) if ({x}[a] > {x}[v{i}[0]]) v{i}[0] = a;"


def _stack(graph: Graph, i: int, value: Value) -> Iterator[str]:
    yield from (f"v{i}[{k}] = v{part}[0];" for k, part in enumerate(value.inputs))


LOOPS: dict[str, Callable[[Graph, int, Value], Iterator[str]]] = {
    "cast": _elementwise("({kind})x"),
    "add": _elementwise("x + w"),
    "subtract": _elementwise("x - w"),
    "multiply": _elementwise("x * w"),
    "divide": _elementwise("x / w"),
    "minimum": _elementwise("x < w ? x : w"),
    "maximum": _elementwise("x > w ? x : w"),
    "round": _elementwise("rint{f}(x)"),
    "relu": _elementwise("x > 0 ? x : 0"),
    "tanh": _elementwise("tanh{f}(x)"),
    "layer_norm": _layer_norm,
    "linear": _linear,
    "conv": _conv,
    "max_pool": _max_pool,
    "sum": _sum,
    "concat": _concat,
    "dueling": _dueling,
    "expectation": _expectation,
    "group_mean": _group_mean,
    "argmax": _argmax,
    "stack": _stack,
}
"""Name of an operation -> lines that compute it; `body` writes the others."""
