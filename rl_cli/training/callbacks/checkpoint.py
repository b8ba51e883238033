"""Checkpoints at intervals, of each new best policy, and at the end."""

from __future__ import annotations

from typing import Any, Protocol

from rl_cli.config.run import EvalConfig
from rl_cli.core.types import Arrays
from rl_cli.storage.checkpoint_writer import CheckpointStore
from rl_cli.tracking.logger import Logger
from rl_cli.training.callbacks.base import Callback, RunState
from rl_cli.training.callbacks.disk_retry import DiskRetry
from rl_cli.training.callbacks.history import EvaluationHistory
from rl_cli.training.callbacks.triggers import Trigger

Version = tuple[int, int, int, bool]


class Policy(Protocol):
    """The weights of a run."""

    def check_finite(self) -> None:
        """Raise NonFinite if a weight is NaN or infinite."""

    def arrays(self) -> Arrays:
        """Weights and observation statistics by name."""


class CheckpointCallback(Callback):
    """Writes checkpoints from which `rl-train resume=` continues exactly.

    Args:
        store: writes them.
        policy: the run's weights; if they are not finite, they never become a checkpoint.
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
        policy: Policy,
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
        self.trigger.restart(state.step, state.episodes)
        if state.step:  # resumed: its checkpoint is on the disk
            self.saved = self._version(state)

    def next_due(self, step: int) -> int:
        return self.trigger.next_due(step)

    def run(self, state: RunState) -> None:
        if self.trigger.fire(state.step, state.episodes):
            self.retry(lambda: self.save(state))

    def finish(self, state: RunState) -> None:
        self.save(state)

    def interrupt(self, state: RunState) -> None:
        self.save(state)

    def save(self, state: RunState, best: bool = False) -> None:
        """Write a checkpoint, unless the last one contains the same.

        Raises:
            NonFinite: the weights are not finite.
            StorageError: it could not be written.

        """
        if not best and self._version(state) == self.saved:
            return
        self.check_weights()
        self.logger.flush()
        self.store.save(
            state.step, self.policy.arrays(), state.state_dict(), self._evaluation(state), best
        )
        self.saved = self._version(state)

    def check_weights(self) -> None:
        """Raise NonFinite if a weight is NaN or infinite."""
        self.policy.check_finite()

    def save_best(self, state: RunState) -> bool:
        """Write a checkpoint and mark it as the best. -> False: it could not be written."""
        return self.retry(lambda: self.save(state, best=True))

    def _version(self, state: RunState) -> Version:
        history = self.history
        return state.step, self.logger.row_step, history.step, history.interrupted

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
