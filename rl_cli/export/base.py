"""What an exporter is, and what it receives."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rl_cli.core import terminal
from rl_cli.core.obs_layout import layout_of
from rl_cli.core.start_folder import relative
from rl_cli.core.types import Arrays
from rl_cli.evaluation.agent import Agent
from rl_cli.export.comparison import Difference, compare
from rl_cli.export.recording import Recorded, record
from rl_cli.export.tracing import Traced, joined_parts, trace


@dataclasses.dataclass
class Context:
    """The inputs of an exporter. The parts are computed when they are first read.

    Args:
        agent: the policy of a checkpoint, its env and its observation statistics.
        checkpoint: folder of the checkpoint.
        output: existing folder to write into.
        observations: number of recorded observations.
        seed: of the first episode that a format plays itself.

    """

    agent: Agent
    checkpoint: Path
    output: Path
    observations: int
    seed: int

    @functools.cached_property
    def recorded(self) -> Recorded:
        """Observations of the policy in its env."""
        return record(self.agent, self.observations)

    @functools.cached_property
    def traced(self) -> Traced:
        """The policy as a graph."""
        return trace(self.agent)

    def actions(self, obs: np.ndarray) -> np.ndarray:
        """The trained policy: observations (B, *obs_shape) before normalization -> actions of the env."""
        return np.array(self.agent.interfaces[0].actions(self.agent.predict(obs, None)))

    def _normalized(self, obs: np.ndarray) -> np.ndarray:
        normalizer = self.agent.normalizer
        return obs if normalizer is None else normalizer(obs)

    def compare(self, exported: Callable[[np.ndarray], Mapping[str, np.ndarray]]) -> Difference:
        """Compare an exported policy with the trained one on the recorded observations.

        Args:
            exported: inputs of the graph (B, ...) -> `action` and, of discrete actions, `scores`.

        Raises:
            RunError: they differ by more than rounding does.

        """
        traced, obs = self.traced, self.recorded.obs
        rows = [
            obs[i : i + 1] for i in range(len(obs))
        ]  # one by one, as the policy acts in its env
        reference: Arrays = {"action": np.concatenate([self.actions(row) for row in rows])}
        if (scores := traced.scores) is not None:
            found = [scores(self._normalized(row)) for row in rows]
            reference["scores"] = np.concatenate(found)
        return compare(exported(self.inputs(obs)), reference)

    def inputs(self, obs: np.ndarray) -> np.ndarray:
        """Recorded observations as the graph takes them."""
        layout = layout_of(self.agent.spec)
        return obs if layout is None else joined_parts(layout, obs)

    def facts(self) -> dict[str, Any]:
        """Facts for a reader of the exported file, as JSON values."""
        agent, graph = self.agent, self.traced.graph
        env = agent.env_cfg
        layout = layout_of(agent.spec)
        parts = [] if layout is None else [f"{p.name} {list(p.shape)}" for p in layout.parts]
        found: dict[str, Any] = {
            "env": env.id,
            "algo": agent.algo.cfg.title,
            "step": agent.manifest.step,
            "observation": f"{graph.obs.dtype} {list(graph.obs.shape)}",
            "action": f"{graph.action.dtype} {list(graph.action.shape)}",
            "before": before_policy(env),
        }
        return found | ({"parts of the observation": parts} if parts else {})


def before_policy(env: Any) -> list[str]:
    """Preprocessing of the env's observations that is left to the caller, in this order."""
    steps = [f"wrap the env in {wrapper}" for wrapper in env.wrappers]
    if env.frame_skip > 1:
        steps.append(f"repeat each action {env.frame_skip} times")
    if env.grayscale:
        steps.append("convert frames to gray (gymnasium: GrayscaleObservation)")
    if env.resize is not None:
        steps.append(f"resize frames to {env.resize} x {env.resize} (ResizeObservation)")
    if env.frame_stack > 1:
        steps.append(f"stack the last {env.frame_stack} observations, the oldest first")
    return steps


class Exporter(ABC):
    """Writes a policy in one format. The name of its module, or of its entry point, is the name of the format.

    Further arguments of a subclass are settings: `opset` of the format onnx is typed `onnx.opset=18`.
    """

    def __init__(self, context: Context) -> None:
        self.context = context

    @abstractmethod
    def export(self) -> list[Path]:
        """Write the files and compare them with the policy. -> what was written, the main file first.

        Raises:
            BadInput: the policy cannot be expressed in this format, or a package is missing.
            RunError: what was written does not do what the policy does.

        """

    def report(self, difference: Difference, by: str) -> None:
        """Print the comparison. Args: by: what ran the exported policy."""
        terminal.say(f"{difference.text()} ({by}, {self.context.recorded.origin})")

    def unchecked(self, why: str) -> None:
        """Say that the exported policy was not run."""
        terminal.warn(f"note: not compared with the policy: {why}")


def written(paths: list[Path]) -> None:
    """Print what was written."""
    for path in paths:
        size = path.stat().st_size if path.is_file() else 0
        shown = (
            f" ({size / 1e6:,.2f} MB)" if size >= 10_000 else f" ({size:,} bytes)" if size else ""
        )
        terminal.say(f"written: {relative(path)}{shown}")
