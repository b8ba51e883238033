"""From the actions of a policy to those that an env takes: offsets, clipping, scaling, dtype."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.export.graph import Graph


class ActionPath:
    """`Interface.actions` as values of a graph.

    Args:
        space: of the actions of the policy.
        target: of the actions of the env.
        scales: whether the actions are mapped from [-1, 1] to the bounds of `target`.

    """

    def __init__(self, space: gym.Space[Any], target: gym.Space[Any], scales: bool) -> None:
        self.space, self.target, self.scales = space, target, scales

    def finish_discrete(self, graph: Graph, scores: int, sizes: tuple[int, ...]) -> None:
        """Add the actions with the largest scores (sum of sizes,) to a graph, as its outputs."""
        space: Any = self.space
        begins = np.cumsum([0, *sizes]).tolist()
        picks = [
            graph.argmax(graph.part(scores, begin, begin + size))
            for begin, size in zip(begins, sizes, strict=False)
        ]
        single = isinstance(space, spaces.Discrete)
        action = picks[0] if single else graph.reshape(graph.stack(picks), space.shape)
        start = getattr(space, "start", 0)
        if np.any(start):
            action = graph.with_constant("add", action, start)
        graph.set_outputs(action=graph.cast(action, space.dtype), scores=scores)

    def finish_box(self, graph: Graph, action: int) -> None:
        """Add clipped and scaled actions to a graph, as its output."""
        space = cast(spaces.Box, self.space)
        if space.dtype.kind == "f":
            action = graph.cast(action, np.result_type(np.float32, space.dtype))
        else:  # whole numbers
            action = graph.elementwise("round", graph.cast(action, np.float64))
        action = _clipped(graph, action, space)
        action = graph.cast(action, space.dtype)
        if self.scales:
            action = self._scaled(graph, graph.cast(action, np.float64))
        graph.set_outputs(action=action)

    def _scaled(self, graph: Graph, action: int) -> int:
        """`envs.wrappers.scale_actions` as values of a graph."""
        target = cast(spaces.Box, self.target)
        low, high = target.low.astype(np.float64), target.high.astype(np.float64)
        action = graph.with_constant("divide", graph.with_constant("add", action, 1.0), 2.0)
        action = graph.with_constant("multiply", action, high - low)
        action = graph.with_constant("add", action, low)
        if np.issubdtype(target.dtype, np.integer):
            action = graph.elementwise("round", action)
        return graph.cast(_clipped(graph, action, target), target.dtype)


def _clipped(graph: Graph, x: int, space: spaces.Box) -> int:
    if np.isfinite(space.low).any():
        x = graph.with_constant("maximum", x, space.low)
    return graph.with_constant("minimum", x, space.high) if np.isfinite(space.high).any() else x
