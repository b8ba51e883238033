"""The collector interface and its eager implementation, which is the reference for the native one."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from rl_cli.algos.base import Algorithm
from rl_cli.core.types import Metrics
from rl_cli.envs.vector import VectorEnv


class Collected(NamedTuple):
    """The result of one call of `Collector.collect`."""

    steps: int  # env steps taken, summed over the envs
    metrics: (
        Metrics | None
    )  # of the updates made during collection, (K,) each; None: there were none


class Collector(Protocol):
    """Steps the envs with the algorithm's actions and stores the transitions in its buffer."""

    envs: VectorEnv

    def collect(self, step: int, until: int) -> Collected:
        """Take at least one step of the envs, from env step `step` of the run on.

        Returns at the first of: env step `until`, the end of an episode, a step at which
        `Algorithm.update` may have an update to make. The caller then calls `update`.

        Raises:
            RunError: an env failed. Its `steps` counts the env steps that this call completed before.

        """
        ...


class EagerCollector:
    """One step of all envs per call, in Python.

    Args:
        budget: env steps of the whole run. Its last step takes only as many envs as are left to step.

    """

    def __init__(self, algo: Algorithm[Any], envs: VectorEnv, budget: int) -> None:
        self.algo, self.envs, self.budget = algo, envs, budget

    def collect(self, step: int, until: int) -> Collected:
        action = self.algo.act(self.envs.obs[: self.budget - step], step)
        transition, _ = self.envs.step(action)
        self.algo.observe(transition)
        return Collected(len(action), None)
