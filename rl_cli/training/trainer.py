"""The training loop, the same for all algorithms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rl_cli.algos.base import Algorithm
from rl_cli.collectors.base import Collector
from rl_cli.core.errors import RunError, UpdateInterrupted
from rl_cli.core.types import Metrics
from rl_cli.training.callbacks.base import CallbackList
from rl_cli.training.exactness import Exactness
from rl_cli.training.state import TrainingState

INTERRUPTED = "interrupted"


class Budget(NamedTuple):
    """Length of a run; it ends at whichever limit is reached first."""

    steps: int  # env steps, over all envs
    episodes: int | None = None  # training episodes, over all envs; None: no limit


class Trainer:
    """Collects experience, updates the algorithm, and runs the callbacks that are due.

    Args:
        algo: the agent.
        collector: steps the envs with the agent's actions and stores the transitions.
        budget: when to stop.
        callbacks: run at intervals and at the end.
        interrupted: whether a stop signal arrived; checked after each collection.
        exactness: of the run, saved with its state.

    """

    def __init__(
        self,
        algo: Algorithm[Any],
        collector: Collector,
        budget: Budget,
        callbacks: CallbackList,
        interrupted: Callable[[], bool],
        exactness: Exactness,
    ) -> None:
        self.algo, self.collector, self.budget = algo, collector, budget
        self.callbacks, self.interrupted = callbacks, interrupted
        self.state = TrainingState(algo, collector, callbacks, exactness)
        self.due = 0  # env step at which a callback is due

    def train(self) -> str:
        """Train until the budget is used, a callback stops the run, or a signal arrives.

        Returns:
            The reason: "budget", "total_episodes=<n>", "interrupted", or that of a callback.

        Raises:
            RunError: an env failed, a file could not be written, or a value is not finite.

        """
        if not self.state.is_loaded:
            self.collector.envs.reset()
        self.callbacks.start(self.state)
        self.due = self.callbacks.next_due(self.state.step)
        with self.state.clock_running():
            if self.state.update_pending:  # then the callbacks of this step are due too
                self.due = self.state.step
            elif self.state.step >= self.due:  # an evaluation that a signal interrupted
                self._run_callbacks()
            while not (reason := self._reason_to_stop()):
                if not self.state.update_pending:
                    self._collect()
                self.callbacks.before_update()
                self._update()
                self._count_episodes()
                if self.state.step >= self.due and not self.state.update_pending:
                    self._run_callbacks()
        return reason

    def finish(self) -> None:
        """Write the row, evaluation, video and checkpoint of the last step, unless they exist."""
        self.callbacks.finish(self.state)
        self.callbacks.join()

    def save(self) -> None:
        """Write a checkpoint after a signal."""
        self.callbacks.interrupt(self.state)

    def _reason_to_stop(self) -> str | None:
        if self.interrupted():
            return INTERRUPTED
        if self.state.update_pending:
            return None
        if reason := self.callbacks.stop_reason(self.state):
            return reason
        steps, episodes = self.budget
        if episodes is not None and self.state.episodes >= episodes:
            return f"total_episodes={episodes}"
        return "budget" if self.state.step >= steps else None

    def _collect(self) -> None:
        """Collect until a callback or an update is due, or an episode ends."""
        state = self.state
        try:
            collected = self.collector.collect(state.step, min(self.due, self.budget.steps))
        except RunError as error:
            state.add_steps(error.steps)
            raise
        state.add_steps(collected.steps)
        self._report(collected.metrics)

    def _update(self) -> None:
        """Update the algorithm. A signal during compilation postpones the update to the resumed run."""
        try:
            metrics = self.algo.try_update(self.state.step)
        except UpdateInterrupted:
            self.state.postpone_update()
            return
        self.state.complete_update()
        self._report(metrics)

    def _report(self, metrics: Metrics | None) -> None:
        if metrics is not None:
            self.callbacks.update(metrics)

    def _count_episodes(self) -> None:
        """Pass the episodes that ended at this step to the callbacks, in the order of the envs."""
        envs = self.collector.envs
        if not envs.episodes:
            return
        episodes, recordings = envs.take_episodes(), envs.take_recordings()
        self.state.add_episodes(len(episodes))
        self.callbacks.add_episodes(episodes, recordings, self.state)
        if self.callbacks.is_due(self.state):
            self.due = self.state.step

    def _run_callbacks(self) -> None:
        with self.state.clock_stopped():
            self.callbacks.run(self.state)
            self.state.mark_served()
            self.due = self.callbacks.next_due(self.state.step)
