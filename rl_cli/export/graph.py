"""A policy as a graph of a few operations, which the exporters translate.

Values have the shape of one row, without the batch. The graph owns its weights. `run` evaluates it in
NumPy and is the definition of what each operation means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from rl_cli.core.products import without_false_warnings
from rl_cli.models.activation import EPSILON


class Value(NamedTuple):
    """One value of a graph, and how it is computed from earlier ones."""

    op: str
    inputs: tuple[int, ...]  # positions of values in the graph
    shape: tuple[int, ...]  # of one row
    dtype: np.dtype[Any]
    arrays: tuple[np.ndarray, ...] = ()  # weights
    numbers: tuple[int, ...] = ()  # sizes, strides, positions


class Graph:
    """Values in the order in which they are computed. The first one is the observation.

    Attributes:
        values: the values.
        outputs: name -> position of a value: `action`, and `scores` of discrete actions.

    """

    def __init__(self, obs_shape: tuple[int, ...], obs_dtype: np.dtype[Any]) -> None:
        self.values = [Value("input", (), obs_shape, np.dtype(obs_dtype))]
        self.outputs: dict[str, int] = {}

    @property
    def obs(self) -> Value:
        """The observation."""
        return self.values[0]

    @property
    def action(self) -> Value:
        """What `env.step` takes."""
        return self.values[self.outputs["action"]]

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(array.size for value in self.values for array in value.arrays)

    def set_outputs(self, **outputs: int) -> None:
        """Name the values that are results: `action`, and `scores` of discrete actions."""
        self.outputs = outputs

    def _add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def cast(self, x: int, dtype: Any) -> int:
        """The same numbers in another dtype; cut towards zero for integers."""
        value = self.values[x]
        if value.dtype == dtype:
            return x
        return self._add(Value("cast", (x,), value.shape, np.dtype(dtype)))

    def with_constant(self, op: str, x: int, constant: Any) -> int:
        """Elementwise `add`, `subtract`, `multiply`, `divide`, `minimum` or `maximum` with an array."""
        value = self.values[x]
        array = np.broadcast_to(np.asarray(constant, value.dtype), value.shape)
        return self._add(Value(op, (x,), value.shape, value.dtype, (np.ascontiguousarray(array),)))

    def elementwise(self, op: str, x: int) -> int:
        """`relu`, `tanh` or `round` (half to even)."""
        value = self.values[x]
        return self._add(Value(op, (x,), value.shape, value.dtype))

    def layer_norm(self, x: int) -> int:
        """A vector less its mean, over its standard deviation; see `models.activation`."""
        value = self.values[x]
        return self._add(Value("layer_norm", (x,), value.shape, value.dtype))

    def linear(self, x: int, weight: np.ndarray, bias: np.ndarray) -> int:
        """(inputs,) -> (outputs,)."""
        dtype = self.values[x].dtype
        return self._add(Value("linear", (x,), bias.shape, dtype, (weight, bias)))

    def conv(
        self, x: int, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int = 0
    ) -> int:
        """Convolution with zeros around the image. (C, H, W) -> (outputs, h, w)."""
        value, (out, _, rows, columns) = self.values[x], weight.shape
        shape = (out, *_window_counts(value, (rows, columns), stride, padding))
        numbers = (stride, padding)
        return self._add(Value("conv", (x,), shape, value.dtype, (weight, bias), numbers))

    def max_pool(self, x: int, size: int, stride: int, padding: int) -> int:
        """The largest number of each window; the padding does not count. (C, H, W) -> (C, h, w)."""
        value = self.values[x]
        shape = (value.shape[0], *_window_counts(value, (size, size), stride, padding))
        return self._add(Value("max_pool", (x,), shape, value.dtype, (), (size, stride, padding)))

    def sum(self, x: int, y: int) -> int:
        """Two values of the same shape, added."""
        value = self.values[x]
        return self._add(Value("sum", (x, y), value.shape, value.dtype))

    def concat(self, parts: Sequence[int]) -> int:
        """Vectors, one after the other."""
        if len(parts) == 1:
            return parts[0]
        size = sum(self.values[part].shape[0] for part in parts)
        dtype = self.values[parts[0]].dtype
        return self._add(Value("concat", tuple(parts), (size,), dtype))

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        """The same numbers in another shape."""
        value = self.values[x]
        if value.shape == shape:
            return x
        return self._add(Value("reshape", (x,), shape, value.dtype))

    def part(self, x: int, begin: int, end: int) -> int:
        """x[begin:end] of a vector."""
        value = self.values[x]
        if (begin, end) == (0, *value.shape):
            return x
        return self._add(Value("part", (x,), (end - begin,), value.dtype, (), (begin, end)))

    def dueling(self, value: int, advantage: int, actions: int, atoms: int) -> int:
        """V + A - mean A (Wang et al. 2016, eq. 9). (atoms,), (actions * atoms,) -> (actions * atoms,)."""
        shape, dtype = self.values[advantage].shape, self.values[advantage].dtype
        return self._add(Value("dueling", (value, advantage), shape, dtype, (), (actions, atoms)))

    def expectation(self, x: int, support: np.ndarray) -> int:
        """Means of categoricals with logits x over a support (K,). (A * K,) -> (A,)."""
        value, atoms = self.values[x], len(support)
        shape = (value.shape[0] // atoms,)
        return self._add(Value("expectation", (x,), shape, value.dtype, (support,), (atoms,)))

    def group_mean(self, x: int, atoms: int) -> int:
        """Means of `atoms` numbers each. (A * K,) -> (A,)."""
        value = self.values[x]
        shape = (value.shape[0] // atoms,)
        return self._add(Value("group_mean", (x,), shape, value.dtype, (), (atoms,)))

    def argmax(self, x: int) -> int:
        """The first position of the largest number. (A,) -> ()."""
        return self._add(Value("argmax", (x,), (), np.dtype(np.int64)))

    def stack(self, parts: Sequence[int]) -> int:
        """Numbers (), () ... -> (k,)."""
        dtype = self.values[parts[0]].dtype
        return self._add(Value("stack", tuple(parts), (len(parts),), dtype))

    @without_false_warnings
    def run(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        """Evaluate in NumPy. (B, *obs_shape) -> (B, *shape) of each output."""
        found: list[np.ndarray] = []
        for value in self.values:
            inputs = [obs] if value.op == "input" else [found[i] for i in value.inputs]
            found.append(OPERATIONS[value.op](value, *inputs))
        return {name: found[position] for name, position in self.outputs.items()}


def _window_counts(
    image: Value, size: tuple[int, int], stride: int, padding: int
) -> tuple[int, int]:
    """Number of windows along height and width."""
    _, height, width = image.shape
    rows, columns = size
    high, wide = height + 2 * padding - rows, width + 2 * padding - columns
    return high // stride + 1, wide // stride + 1


def _windows(
    x: np.ndarray, size: tuple[int, ...], stride: int, padding: int, around: float
) -> np.ndarray:
    """(B, C, H, W) -> windows (B, C, h, w, *size)."""
    sides = (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), sides, sides), constant_values=around)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, (2, 3))
    return windows[:, :, ::stride, ::stride]


def _conv(value: Value, x: np.ndarray) -> np.ndarray:
    (weight, bias), (stride, padding) = value.arrays, value.numbers
    windows = _windows(x, weight.shape[2:], stride, padding, 0.0)
    out = np.tensordot(windows, weight, ([1, 4, 5], [1, 2, 3])) + bias
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))


def _max_pool(value: Value, x: np.ndarray) -> np.ndarray:
    size, stride, padding = value.numbers
    largest: np.ndarray = _windows(x, (size, size), stride, padding, -np.inf).max((4, 5))
    return largest


def _layer_norm(value: Value, x: np.ndarray) -> np.ndarray:
    centered = x - x.mean(-1, keepdims=True)
    variance = np.square(centered).mean(-1, keepdims=True)
    normalized: np.ndarray = centered / np.sqrt(variance + np.float32(EPSILON))
    return normalized


def _dueling(value: Value, state: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    advantage = advantage.reshape(-1, *value.numbers)
    centered = advantage - advantage.mean(1, keepdims=True)
    summed: np.ndarray = state[:, None] + centered
    return summed.reshape(len(state), -1)


def _expectation(value: Value, x: np.ndarray) -> np.ndarray:
    logits = x.reshape(len(x), -1, *value.numbers)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    means: np.ndarray = weights.dot(value.arrays[0]) / weights.sum(-1)
    return means


OPERATIONS: dict[str, Callable[..., Any]] = {
    "input": lambda value, x: np.asarray(x, value.dtype),
    "cast": lambda value, x: x.astype(value.dtype),
    "add": lambda value, x: x + value.arrays[0],
    "subtract": lambda value, x: x - value.arrays[0],
    "multiply": lambda value, x: x * value.arrays[0],
    "divide": lambda value, x: x / value.arrays[0],
    "minimum": lambda value, x: np.minimum(x, value.arrays[0]),
    "maximum": lambda value, x: np.maximum(x, value.arrays[0]),
    "round": lambda value, x: np.rint(x),
    "relu": lambda value, x: np.maximum(x, 0),
    "tanh": lambda value, x: np.tanh(x),
    "layer_norm": _layer_norm,
    "linear": lambda value, x: x.dot(value.arrays[0].T) + value.arrays[1],
    "conv": _conv,
    "max_pool": _max_pool,
    "sum": lambda value, x, y: x + y,
    "concat": lambda value, *parts: np.concatenate(parts, -1),
    "reshape": lambda value, x: x.reshape(len(x), *value.shape),
    "part": lambda value, x: x[:, value.numbers[0] : value.numbers[1]],
    "dueling": _dueling,
    "expectation": _expectation,
    "group_mean": lambda value, x: x.reshape(len(x), -1, *value.numbers).mean(-1),
    "argmax": lambda value, x: x.argmax(-1),
    "stack": lambda value, *parts: np.stack(parts, -1),
}
"""Name of an operation -> function of the value and its inputs (B, ...)."""
