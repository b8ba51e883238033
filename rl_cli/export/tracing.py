"""The graph of a trained policy: from the observation of the env to the action that the env takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from rl_cli.algos.policies import QPolicy, StochasticPolicy
from rl_cli.core.errors import BadInput
from rl_cli.core.obs_layout import ObsLayout, layout_of
from rl_cli.core.types import Arrays
from rl_cli.envs.normalization import ObservationNormalizer, VectorPartNormalizer
from rl_cli.evaluation.agent import Agent
from rl_cli.export.actions import ActionPath
from rl_cli.export.graph import Graph
from rl_cli.models import return_distributions as returns_of
from rl_cli.models.action_distributions import Categorical
from rl_cli.models.activation import Activation
from rl_cli.models.encoders import MultiInput
from rl_cli.models.gaussians import (
    GSDE,
    AnnealedGaussian,
    FixedGaussian,
    Gaussian,
    StateDependentGaussian,
)
from rl_cli.models.image_encoders import (
    ConvEncoder,
    FlatImage,
    ImageEncoder,
    Impala,
    MinAtarCNN,
    NatureCNN,
)
from rl_cli.models.networks import MLP, Identity, LatentMLP
from rl_cli.models.q_heads import Dueling, NoisyMLP


class Traced(NamedTuple):
    """A policy as a graph."""

    graph: Graph
    scores: Callable[[np.ndarray], np.ndarray] | None
    """The policy's own Q-values or logits (B, A) of normalized observations; None: no discrete actions."""

    kind: Literal["q", "logits", "none"]
    """What the scores are."""


def trace(agent: Agent) -> Traced:
    """The graph of an agent's greedy policy.

    Args:
        agent: policy and observation statistics.

    Raises:
        BadInput: the policy has a part that no graph can express; the error names it.

    """
    algo: Any = agent.algo
    arrays = {name: value.numpy() for name, value in algo.policy_state().items()}
    layout = layout_of(agent.spec)
    if layout is None:
        graph = Graph(agent.spec.obs_shape, agent.dtype)
    else:
        graph = Graph((sum(math.prod(part.shape) for part in layout.parts),), np.dtype(np.float32))
    path = ActionPath(
        agent.interfaces[0].env.action_space, agent.action_space, agent.env_cfg.scale_actions
    )
    x = _normalized(graph, agent.normalizer)
    policy = getattr(algo, "policy", None)
    if type(policy) is QPolicy:
        return _of_q_network(graph, policy, arrays, x, path)
    if type(policy) is StochasticPolicy:
        return _of_actor(graph, policy, arrays, x, path)
    raise _unsupported(algo if policy is None else policy)


def _of_q_network(
    graph: Graph, policy: QPolicy, arrays: Arrays, x: int, path: ActionPath
) -> Traced:
    net = policy.net
    out = _head(graph, net.head, arrays, _encoded(graph, net.encoder, arrays, x))
    path.finish_discrete(graph, _expected(graph, net.returns, out), (net.num_actions,))

    def q_values(obs: np.ndarray) -> np.ndarray:
        return net.returns.mean_in_numpy(policy.learner.forward(net.encoder, net.head, obs))

    return Traced(graph, q_values, "q")


def _of_actor(
    graph: Graph, policy: StochasticPolicy, arrays: Arrays, x: int, path: ActionPath
) -> Traced:
    net = policy.net
    encoded = _encoded(graph, net.obs_encoder, arrays, x)
    out = _head(graph, net.policy_net, arrays, encoded)
    if type(net.distribution) is not Categorical:
        _finish_gaussian(graph, net.distribution, out, path)
        return Traced(graph, None, "none")
    path.finish_discrete(graph, out, net.distribution.sizes)

    def logits(obs: np.ndarray) -> np.ndarray:
        return policy.learner.forward(net.obs_encoder, net.policy_net, obs)

    return Traced(graph, logits, "logits")


def joined_parts(layout: ObsLayout, rows: np.ndarray) -> np.ndarray:
    """Observations of several parts as a graph takes them. (B, size) -> (B, numbers) float32.

    The parts lie in the order of the layout, one number per value. A row of bytes, in which a float32
    takes four of them, could not be split by ONNX.
    """
    if layout.dtype == "float32":
        return rows
    pixels = sum(math.prod(part.shape) for part in layout.parts if part.dtype == "uint8")
    begin = 4 * layout.floats
    parts = [layout.as_floats(rows), rows[:, begin : begin + pixels]]
    return np.concatenate(parts, -1).astype(np.float32)


def _normalized(graph: Graph, normalizer: ObservationNormalizer | None) -> int:
    """The input of the network. Statistics are float64, as in `ObservationNormalizer`."""
    if normalizer is None:
        return 0
    if type(normalizer) is VectorPartNormalizer:
        (size,), vectors = graph.obs.shape, normalizer.layout.vectors
        scaled = _standardized(graph, normalizer, graph.part(0, 0, vectors))
        return graph.concat([scaled, graph.part(0, vectors, size)])
    if type(normalizer) is ObservationNormalizer:
        return _standardized(graph, normalizer, 0)
    raise _unsupported(normalizer)


def _standardized(graph: Graph, normalizer: ObservationNormalizer, x: int) -> int:
    mean, std = normalizer.mean_and_std()
    x = graph.with_constant("subtract", graph.cast(x, np.float64), mean)
    x = graph.with_constant("divide", x, std)
    x = graph.with_constant("maximum", x, -normalizer.clip)
    return graph.cast(graph.with_constant("minimum", x, normalizer.clip), np.float32)


def _encoded(graph: Graph, encoder: object, arrays: Arrays, x: int) -> int:
    if type(encoder) is Identity:
        return x
    if type(encoder) is FlatImage:
        return graph.reshape(_scaled(graph, encoder, x), (encoder.features,))
    if isinstance(encoder, ConvEncoder) and type(encoder) in (NatureCNN, MinAtarCNN):
        x = _scaled(graph, encoder, x)
        for i, (_, stride) in enumerate(encoder.kernels):
            x = graph.elementwise("relu", graph.conv(x, *_layer(arrays, encoder.name, i), stride))
        x = graph.reshape(x, (encoder.flat,))
        last = len(encoder.kernels)
        return graph.elementwise("relu", graph.linear(x, *_layer(arrays, encoder.name, last)))
    if type(encoder) is Impala:
        return _residual(graph, encoder, arrays, _scaled(graph, encoder, x))
    if type(encoder) is MultiInput:
        return _joined(graph, encoder, arrays, x)
    raise _unsupported(encoder)


def _residual(graph: Graph, encoder: Impala, arrays: Arrays, x: int) -> int:
    """`Impala.__call__` as values of a graph."""

    def convolved(i: int, x: int) -> int:
        return graph.conv(x, *_layer(arrays, encoder.name, i), stride=1, padding=1)

    for stage in range(len(encoder.stages)):
        x = graph.max_pool(convolved(stage * encoder.CONVOLUTIONS, x), 3, 2, 1)
        for first in (1, 3):
            i = stage * encoder.CONVOLUTIONS + first
            inner = convolved(i, graph.elementwise("relu", x))
            x = graph.sum(x, convolved(i + 1, graph.elementwise("relu", inner)))
    last = len(encoder.stages) * encoder.CONVOLUTIONS
    x = graph.reshape(graph.elementwise("relu", x), (encoder.shapes[last][1],))
    return graph.elementwise("relu", graph.linear(x, *_layer(arrays, encoder.name, last)))


def _joined(graph: Graph, encoder: MultiInput, arrays: Arrays, x: int) -> int:
    """The vectors, then the features of each image, from an observation as `joined_parts` makes it."""
    vectors = encoder.layout.vectors
    features = [graph.part(x, 0, vectors)] if vectors else []
    images, begin = [part for part in encoder.layout.parts if part.is_image], vectors
    for each, part in zip(encoder.encoders, images, strict=True):
        end = begin + math.prod(part.shape)
        image = graph.reshape(graph.part(x, begin, end), part.shape)
        features.append(_encoded(graph, each, arrays, image))
        begin = end
    return graph.concat(features)


def _scaled(graph: Graph, encoder: ImageEncoder, x: int) -> int:
    """The values of an image, mapped to [0, 1]; see `ImageEncoder.scaled`."""
    low, high = encoder.part.low, encoder.part.high
    x = graph.cast(x, np.float32)
    if low != 0.0:
        x = graph.with_constant("subtract", x, low)
    return x if high - low == 1.0 else graph.with_constant("divide", x, high - low)


def _layer(arrays: Arrays, name: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    return arrays[f"{name}.{number}.weight"], arrays[f"{name}.{number}.bias"]


def _head(graph: Graph, head: object, arrays: Arrays, x: int) -> int:
    """The outputs of a head; of `LatentMLP` without the features that it appends for gSDE."""
    if type(head) in (MLP, LatentMLP, NoisyMLP):  # noisy layers use their mean weights
        assert isinstance(head, MLP)
        for i, (weight, bias) in enumerate(head.layers):
            x = graph.linear(x, arrays[weight], arrays[bias])
            if i < len(head.layers) - 1:
                x = _activated(graph, head.activation, x)
        return x
    if type(head) is Dueling:
        if head.trunk is not None:
            x = _activated(graph, head.activation, _head(graph, head.trunk, arrays, x))
        value = _head(graph, head.value, arrays, x)
        advantage = _head(graph, head.advantage, arrays, x)
        return graph.dueling(value, advantage, head.actions, head.atoms)
    raise _unsupported(head)


def _activated(graph: Graph, activation: Activation, x: int) -> int:
    if activation.layer_norm:
        x = graph.layer_norm(x)
    return graph.elementwise("tanh" if activation.tanh else "relu", x)


def _expected(graph: Graph, returns: object, out: int) -> int:
    """Q-values from the outputs of a Q-network."""
    if type(returns) is returns_of.Expectation:
        return out
    if type(returns) is returns_of.Categorical:
        return graph.expectation(out, returns.support)
    if type(returns) is returns_of.Quantiles:
        return graph.group_mean(out, returns.atoms)
    raise _unsupported(returns)


def _finish_gaussian(graph: Graph, distribution: object, out: int, path: ActionPath) -> None:
    if type(distribution) not in GAUSSIANS:
        raise _unsupported(distribution)
    assert isinstance(distribution, Gaussian)
    mean = graph.part(out, 0, distribution.actions)
    if (squash := distribution.squash) is not None:
        mean = graph.with_constant("multiply", graph.elementwise("tanh", mean), squash.half)
        mean = graph.with_constant("add", mean, squash.middle)
    path.finish_box(graph, graph.reshape(mean, distribution.shape))


def _unsupported(part: object) -> BadInput:
    kind = type(part)
    return BadInput(
        f"the policy contains {kind.__qualname__} of {kind.__module__}, which no format can express",
        f"format=<{'|'.join(GRAPH_FORMATS)}>",
        "use format=hub, or evaluate the policy from Python",
    )


GAUSSIANS = (Gaussian, FixedGaussian, AnnealedGaussian, StateDependentGaussian, GSDE)

GRAPH_FORMATS = ("onnx", "pt2", "c", "html")
"""Formats that need the graph, for messages."""
