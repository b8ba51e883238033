"""Operations of graphs, against torch, and in every format."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from rl_cli.export.formats.c import compiled, header
from rl_cli.export.formats.onnx import _in_runtime, make_model
from rl_cli.export.formats.pt2 import GraphModule
from rl_cli.export.graph import OPERATIONS, Graph

ROWS = 5


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def residual_graph():
    """Convolutions with stride and padding, a maximum over windows, sums and joined vectors."""
    graph = Graph((2 * 7 * 6 + 3,), np.float32)
    image = graph.reshape(graph.part(0, 3, 87), (2, 7, 6))
    x = graph.conv(image, normal(4, 2, 3, 3), normal(4), 1, 1)
    pooled = graph.max_pool(x, 3, 2, 1)
    inner = graph.conv(graph.elementwise("relu", pooled), normal(4, 4, 3, 3), normal(4), 1, 1)
    x = graph.sum(pooled, inner)
    x = graph.conv(x, normal(3, 4, 2, 2), normal(3), 2)
    x = graph.concat([graph.part(0, 0, 3), graph.reshape(x, (3 * 2 * 1,))])
    scores = graph.linear(x, normal(4, 9), normal(4))
    graph.outputs = {"action": graph.argmax(scores), "scores": scores}
    return graph


def by_torch(obs):
    functional, x = torch.nn.functional, torch.from_numpy(obs)
    weight = lambda *shape: torch.from_numpy(normal(*shape))  # noqa: E731
    image = x[:, 3:].reshape(-1, 2, 7, 6)
    y = functional.conv2d(image, weight(4, 2, 3, 3), weight(4), padding=1)
    y = functional.max_pool2d(y, 3, 2, 1)
    y = y + functional.conv2d(y.relu(), weight(4, 4, 3, 3), weight(4), padding=1)
    y = functional.conv2d(y, weight(3, 4, 2, 2), weight(3), stride=2).flatten(1)
    return functional.linear(torch.cat([x[:, :3], y], 1), weight(4, 9), weight(4)).numpy()


def test_a_residual_network_is_the_same_everywhere(tmp_path):
    graph, obs = residual_graph(), normal(ROWS, 87)
    expected = by_torch(obs)
    found = {"numpy": graph.run(obs)}
    names = list(graph.outputs)
    values = GraphModule(graph)(torch.from_numpy(obs))
    found["torch"] = {k: v.numpy() for k, v in zip(names, values, strict=True)}
    if compiler := shutil.which("cc"):
        text = header(graph, {}, obs, expected.argmax(-1))
        found["c"] = compiled(text, graph, compiler, tmp_path)(obs)
    for place, outputs in found.items():
        assert outputs["scores"] == pytest.approx(expected, abs=1e-4), place
        assert (outputs["action"] == expected.argmax(-1)).all()


def test_a_residual_network_in_onnxruntime():
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    obs = normal(ROWS, 87)
    session = runtime.InferenceSession(make_model(residual_graph(), 18, {}))
    assert _in_runtime(session)(obs)["scores"] == pytest.approx(by_torch(obs), abs=1e-4)


def test_every_operation_is_in_every_format():
    from rl_cli.export import c_source
    from rl_cli.export.formats import pt2

    assert set(pt2.OPERATIONS) == set(OPERATIONS)
    assert set(c_source.LOOPS) | {"input", "reshape", "part"} == set(OPERATIONS)
