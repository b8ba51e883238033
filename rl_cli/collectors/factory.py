"""Temporary adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl_cli.algos.base import Algorithm
from rl_cli.collectors import native_envs
from rl_cli.collectors.base import Collected, Collector, EagerCollector
from rl_cli.core.errors import RunError
from rl_cli.envs.vector import VectorEnv


class Both:
    def __init__(self, algo, envs, budget, interrupted):
        self.algo, self.envs, self.budget = algo, envs, budget
        self.eager = EagerCollector(algo, envs, budget)
        self.native = native_envs.prepared(algo, envs)
        if self.native is not None:
            self.native.interrupted = interrupted

    def collect(self, step: int, until: int) -> Collected:
        left, n = self.budget - step, self.envs.num_envs
        if self.native is not None and left >= n:
            try:
                taken = self.native(step, min(until, step + left // n * n))
            except RunError as error:
                error.steps = self.native.taken
                raise
            if taken:
                return Collected(taken, self.native.learned)
        self.sync()
        return self.eager.collect(step, until)

    def sync(self) -> None:
        if self.native is not None:
            self.native.settle()


def make_collector(
    algo: Algorithm[Any], envs: VectorEnv, budget: int, interrupted: Callable[[], bool]
) -> Collector:
    return Both(algo, envs, budget, interrupted)
