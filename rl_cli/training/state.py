"""Progress of a run, and everything that a resumed run needs in addition to the policy's weights."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rl_cli.algos.base import Algorithm
from rl_cli.collectors.base import Collector
from rl_cli.core.fields import Fields, StateError, integer
from rl_cli.core.types import State
from rl_cli.training.callbacks.base import CallbackList
from rl_cli.training.exactness import Exactness
from rl_cli.training.state_migration import upgraded

MAX_SECONDS = 1e12
"""Bound of the seconds of training in a loaded state."""


class TrainingState:
    """Counters of a run. Args: the parts whose states are saved and restored together."""

    def __init__(
        self,
        algo: Algorithm[Any],
        collector: Collector,
        callbacks: CallbackList,
        exactness: Exactness,
    ) -> None:
        self.algo, self.collector, self.callbacks = algo, collector, callbacks
        self.exactness = exactness
        self.step = self.episodes = 0  # env steps and finished training episodes, over all envs
        self.elapsed = 0.0  # seconds spent training, without callbacks
        self.served = (0, 0)  # steps and episodes when the callbacks last ran
        self.update_pending = False  # a signal interrupted the update of this step
        self.is_loaded = False  # from a checkpoint, which may be of step 0
        self._running_since: float | None = None

    def add_steps(self, steps: int) -> None:
        self.step += steps

    def add_episodes(self, episodes: int) -> None:
        self.episodes += episodes

    def mark_served(self) -> None:
        """Record that the callbacks have run at this step."""
        self.served = (self.step, self.episodes)

    def postpone_update(self) -> None:
        """Record that a signal interrupted the update of this step, which has changed nothing."""
        self.update_pending = True

    def complete_update(self) -> None:
        """Record that the update of this step is complete."""
        self.update_pending = False

    @contextmanager
    def clock_running(self) -> Iterator[None]:
        """Add the seconds spent in the body, less those in `clock_stopped`, to `elapsed`."""
        self._running_since = time.perf_counter()
        try:
            yield
        finally:
            self._stop_clock()

    @contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Leave the seconds spent in the body out of `elapsed`."""
        self._stop_clock()
        try:
            yield
        finally:
            self._running_since = time.perf_counter()

    def _stop_clock(self) -> None:
        if self._running_since is not None:
            self.elapsed += time.perf_counter() - self._running_since
            self._running_since = None

    def state_dict(self) -> State:
        pending: State = {"served": list(self.served)} if self.update_pending else {}
        differs = self.exactness.state_dict()
        inexact: State = {"inexact": differs} if differs else {}
        return {
            **pending,
            **inexact,
            "step": self.step,
            "episodes": self.episodes,
            "elapsed": self.elapsed,
            "algo": self.algo.state_dict(),
            "envs": self.collector.envs.state_dict(),
            "callbacks": self.callbacks.state_dict(),
        }

    def load_state_dict(self, state: State) -> list[int]:
        """Restore a checkpoint's state. -> the envs whose replay did not reproduce the observation.

        Raises:
            StateError: a value is missing, or not of its type or range.

        """
        fields = Fields(upgraded(state))
        self.step = fields.integer("step")
        self.episodes = fields.integer("episodes", 0, self.step)
        self.elapsed = fields.number("elapsed", 0.0, MAX_SECONDS)
        self.update_pending = "served" in fields.state
        steps, episodes = fields.items("served", 2, default=(self.step, self.episodes))
        self.served = (
            integer(steps, "served.0", 0, self.step),
            integer(episodes, "served.1", 0, self.episodes),
        )
        self.algo.load_state_dict(fields.mapping("algo"))
        is_full = getattr(getattr(self.algo, "buffer", None), "full", False)
        if is_full and not self.update_pending:  # the next step would be written behind its end
            raise StateError("the rollout is full, and no update is pending")
        inexact = self.collector.envs.load_state_dict(fields.mapping("envs"))
        self.callbacks.load_state_dict(fields.mapping("callbacks"))
        self.exactness.load_state_dict(fields.get("inexact", None))
        self.is_loaded = True
        return inexact
