"""policy.onnx for onnxruntime and others: one file, any batch size. Setting: opset. Extra: onnx."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli import __version__
from rl_cli.core.errors import BadInput, first_line
from rl_cli.export.base import Context, Exporter
from rl_cli.export.graph import Graph, Value
from rl_cli.models.activation import EPSILON
from rl_cli.storage.atomic_files import write_atomic

OLDEST, OPSET = 18, 18
"""Oldest opset that the operations below exist in, and the one that is written."""

ROWS = 256
"""Observations of one call in the comparison."""


class Onnx(Exporter):
    """One ONNX file. It is written from the graph, without a trace by torch, which takes seconds."""

    def __init__(self, context: Context, opset: int = OPSET) -> None:
        super().__init__(context)
        self.opset = opset

    def export(self) -> list[Path]:
        onnx = _package()
        newest = onnx.defs.onnx_opset_version()
        if type(self.opset) is not int or not OLDEST <= self.opset <= newest:
            raise BadInput(
                f"opset {self.opset} is not supported",
                f"onnx.opset={self.opset}",
                f"{OLDEST} to {newest}",
            )
        data = make_model(self.context.traced.graph, self.opset, self.context.facts())
        try:
            import onnxruntime
        except ImportError:
            self.unchecked("onnxruntime is not installed")
        else:
            session = _session(onnxruntime, data, self.opset)
            difference = self.context.compare(_in_runtime(session))
            self.report(difference, f"opset {self.opset}, onnxruntime {onnxruntime.__version__}")
        path = self.context.output / "policy.onnx"
        write_atomic(path, data)
        return [path]


def _package() -> Any:
    try:
        import onnx
    except ImportError:
        raise BadInput(
            "format=onnx needs the package onnx", "format=onnx", "pip install 'rl-cli[onnx]'"
        ) from None
    return onnx


def _session(onnxruntime: Any, data: bytes, opset: int) -> Any:
    try:
        onnxruntime.set_default_logger_severity(3)  # a warning for each opset newer than it knows
        return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # of its own kinds
        raise BadInput(
            f"onnxruntime {onnxruntime.__version__} refuses the model: {first_line(error)}",
            f"onnx.opset={opset}",
            f"onnx.opset={OPSET}",
        ) from None


def _in_runtime(session: Any) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    names = [output.name for output in session.get_outputs()]

    def run(obs: np.ndarray) -> dict[str, np.ndarray]:
        parts = [session.run(None, {"obs": obs[i : i + ROWS]}) for i in range(0, len(obs), ROWS)]
        return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))

    return run


def make_model(graph: Graph, opset: int, facts: dict[str, Any]) -> bytes:
    """The bytes of an ONNX model with the input `obs` (batch, *obs_shape) and the outputs of the graph.

    Raises:
        BadInput: onnx refuses the model.

    """
    onnx = _package()
    helper = onnx.helper
    writer = _Writer(helper, onnx.numpy_helper)
    for i, value in enumerate(graph.values):
        if value.op != "input":
            writer.add(i, value, graph)
    outputs = []
    for name, position in graph.outputs.items():
        writer.node("Identity", [f"v{position}"], name)
        outputs.append(_described(helper, name, graph.values[position]))
    body = helper.make_graph(
        writer.nodes, "policy", [_described(helper, "obs", graph.obs)], outputs, writer.weights
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        body, opset_imports=opsets, producer_name="rl-cli", producer_version=__version__,
        ir_version=helper.find_min_ir_version_for(opsets),
    )  # fmt: skip
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    helper.set_model_props(model, texts)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of the checker's own kinds
        what = f"onnx refuses the model: {first_line(error)}"
        raise BadInput(what, f"onnx.opset={opset}", f"onnx.opset={OPSET}") from None
    data: bytes = model.SerializeToString()
    return data


def _described(helper: Any, name: str, value: Value) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    return helper.make_tensor_value_info(name, kind, ["batch", *value.shape])


ELEMENTWISE = {
    "add": "Add",
    "sum": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "minimum": "Min",
    "maximum": "Max",
    "round": "Round",
    "relu": "Relu",
    "tanh": "Tanh",
}


class _Writer:
    """Nodes and weights of a model. Value i of the graph is called v<i>."""

    def __init__(self, helper: Any, arrays: Any) -> None:
        self.helper, self.arrays = helper, arrays
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.temporary = 0

    def node(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Add a node. -> the name of its output."""
        if not output:
            self.temporary += 1
            output = f"t{self.temporary}"
        self.nodes.append(self.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, array: Any) -> str:
        """Add a constant. -> its name."""
        name = f"w{len(self.weights)}"
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        self.weights.append(self.arrays.from_array(array, name))
        return name

    def sizes(self, *numbers: int) -> str:
        return self.weight(np.array(numbers, np.int64))

    def add(self, position: int, value: Value, graph: Graph) -> None:
        """Add the nodes of one value."""
        out, inputs = f"v{position}", ["obs" if i == 0 else f"v{i}" for i in value.inputs]
        weights = [self.weight(array) for array in value.arrays]
        if value.op in ELEMENTWISE:
            self.node(ELEMENTWISE[value.op], inputs + weights, out)
        elif value.op == "cast":
            kind = self.helper.np_dtype_to_tensor_dtype(value.dtype)
            self.node("Cast", inputs, out, to=kind)
        elif value.op == "layer_norm":
            self._add_layer_norm(inputs[0], out)
        elif value.op == "linear":
            self.node("Gemm", inputs + weights, out, transB=1)
        elif value.op == "conv":
            stride, padding = value.numbers
            windows = {"strides": [stride] * 2, "pads": [padding] * 4}
            self.node("Conv", inputs + weights, out, **windows)
        elif value.op == "max_pool":
            size, stride, padding = value.numbers
            windows = {"strides": [stride] * 2, "pads": [padding] * 4}
            self.node("MaxPool", inputs, out, kernel_shape=[size] * 2, **windows)
        elif value.op == "concat":
            self.node("Concat", inputs, out, axis=1)
        elif value.op == "reshape":
            self.node("Reshape", [*inputs, self.sizes(-1, *value.shape)], out)
        elif value.op == "part":
            begin, end = value.numbers
            self.node("Slice", [*inputs, *map(self.sizes, (begin, end, 1))], out)
        elif value.op == "argmax":
            self.node("ArgMax", inputs, out, axis=1, keepdims=0)
        elif value.op == "stack":
            columns = [self.node("Unsqueeze", [each, self.sizes(1)]) for each in inputs]
            self.node("Concat", columns, out, axis=1)
        else:
            self._add_grouped(value, inputs, weights, out)

    def _add_layer_norm(self, x: str, out: str) -> None:
        centered = self.node("Sub", [x, self._row_mean(x)])
        variance = self._row_mean(self.node("Mul", [centered, centered]))
        scale = self.node("Add", [variance, self.weight(np.float32(EPSILON))])
        self.node("Div", [centered, self.node("Sqrt", [scale])], out)

    def _row_mean(self, x: str) -> str:
        return self.node("ReduceMean", [x, self.sizes(1)], keepdims=1)

    def _add_grouped(self, value: Value, inputs: list[str], weights: list[str], out: str) -> None:
        """Operations on groups of numbers: dueling, expectation, group_mean."""
        flat = self.sizes(-1, *value.shape)
        if value.op == "dueling":
            actions, atoms = value.numbers
            state = self.node("Reshape", [inputs[0], self.sizes(-1, 1, atoms)])
            advantage = self.node("Reshape", [inputs[1], self.sizes(-1, actions, atoms)])
            mean = self.node("ReduceMean", [advantage, self.sizes(1)], keepdims=1)
            total = self.node("Add", [state, self.node("Sub", [advantage, mean])])
            self.node("Reshape", [total, flat], out)
            return
        grouped = self.node("Reshape", [inputs[0], self.sizes(-1, *value.shape, *value.numbers)])
        if value.op == "expectation":
            share = self.node("Softmax", [grouped], axis=-1)
            weighted = self.node("Mul", [share, *weights])
            self.node("ReduceSum", [weighted, self.sizes(2)], out, keepdims=0)
        elif value.op == "group_mean":
            self.node("ReduceMean", [grouped, self.sizes(2)], out, keepdims=0)
        else:
            raise BadInput(
                f"the policy has an operation that this ONNX writer does not know: {value.op}",
                "format=onnx",
                "format=pt2",
            )
