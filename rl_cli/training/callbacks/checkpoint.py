"""Checkpoints at intervals, of each new best policy, and at the end."""

from __future__ import annotations

from typing import Any

from rl_cli.config.run import EvalConfig
from rl_cli.storage.checkpoint_writer import CheckpointStore
from rl_cli.tracking.logger import Logger
from rl_cli.training.callbacks.base import Callback, RunState
from rl_cli.training.callbacks.disk_retry import DiskRetry
from rl_cli.training.callbacks.history import EvaluationHistory
from rl_cli.training.callbacks.triggers import Trigger
from rl_cli.training.policy import RunPolicy

Version = tuple[int, int, int, bool, bool]


class CheckpointCallback(Callback):
    """Writes checkpoints from which `rl-train resume=` continues exactly.

    It runs after the other callbacks, so that a checkpoint contains what they did at its step.

    Args:
        store: writes them.
        policy: the run's weights; a checkpoint is refused if one is not finite.
        logger: flushed before each checkpoint, because a resumed run does not repeat earlier rows.
        history: of evaluations; the manifest records the one of the same step.
        cfg: of the evaluations.
        trigger: the checkpoint interval.
        retry: of failed writes.

    """

    name = "checkpoint"

    def __init__(
        self,
        store: CheckpointStore,
        policy: RunPolicy,
        logger: Logger,
        history: EvaluationHistory,
        cfg: EvalConfig,
        trigger: Trigger,
        retry: DiskRetry,
    ) -> None:
        self.store, self.policy, self.logger, self.history = store, policy, logger, history
        self.cfg, self.trigger, self.retry = cfg, trigger, retry
        self.saved: Version | None = None  # what the last checkpoint contains

    def start(self, state: RunState) -> None:
        self.trigger.restart(*state.served)
        if state.step:  # resumed: its checkpoint is on the disk
            self.saved = self._version(state)

    def next_due(self, step: int) -> int:
        return self.trigger.next_due(step)

    def run(self, state: RunState) -> None:
        fired, history = self.trigger.fire(state.step, state.episodes), self.history
        if history.best_is_unsaved:
            history.best_was_saved(self.retry(lambda: self.save(state, best=True)))
        elif fired:
            self.retry(lambda: self.save(state))

    def finish(self, state: RunState) -> None:
        self.save(state, best=self.history.best_is_unsaved)

    def interrupt(self, state: RunState) -> None:
        self.save(state)

    def save(self, state: RunState, best: bool = False) -> None:
        """Write a checkpoint, unless the last one contains the same.

        Args:
            state: of the run.
            best: mark it as the best.

        Raises:
            NonFinite: the weights are not finite.
            StorageError: it could not be written.

        """
        if not best and self._version(state) == self.saved:
            return
        self.policy.check_finite()
        self.logger.flush()
        self.store.save(
            state.step, self.policy.arrays(), state.state_dict(), self._evaluation(state), best
        )
        self.saved = self._version(state)

    def _version(self, state: RunState) -> Version:
        history = self.history
        rows, evaluated = self.logger.row_step, history.step
        return state.step, rows, evaluated, history.interrupted, state.update_pending

    def _evaluation(self, state: RunState) -> dict[str, Any] | None:
        """For the manifest: the evaluation of this step, if there was one."""
        history, cfg = self.history, self.cfg
        if history.step != state.step or history.latest is None:
            return None
        return {
            "episodes": cfg.episodes,
            "seed": cfg.seed,
            "greedy": cfg.greedy,
            "mean_return": history.latest.mean,
        }
