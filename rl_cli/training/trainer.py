"""THE loop. It never asks which algorithm it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.collectors.native import NativeCollector
from rl_cli.config.run import EvalConfig, StopConfig
from rl_cli.core.errors import NonFinite, UpdateInterrupted
from rl_cli.core.schedules import crossings
from rl_cli.core.types import Metrics, Recording, State
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.storage.checkpoint_writer import CheckpointStore
from rl_cli.storage.policy_file import policy_arrays
from rl_cli.tracking.console import Monitor
from rl_cli.tracking.logger import Logger, check_finite
from rl_cli.tracking.statistics import Summary, summarise
from rl_cli.training.callbacks.disk_retry import Patience
from rl_cli.training.callbacks.early_stopping import Budget, Stopping
from rl_cli.training.callbacks.metrics import Divergence
from rl_cli.training.callbacks.triggers import Periods
from rl_cli.training.callbacks.video import Studio


class Trainer:
    """One run: acts, steps, learns; and now and then logs, evaluates, films and saves.

    Args:
        interrupted: asked after each step, or call of C; a signal's number ends the run after a
            checkpoint.
        studio: makes films of the policy and of training episodes.
        strides: take many steps at once; None: one after the other.

    """

    def __init__(
        self,
        algo: Algorithm[Any],
        envs: VectorEnv,
        budget: Budget,
        periods: Periods,
        evaluator: Evaluator,
        eval_cfg: EvalConfig,
        stop: StopConfig,
        logger: Logger,
        monitor: Monitor,
        store: CheckpointStore,
        studio: Studio,
        interrupted: Callable[[], bool],
        strides: NativeCollector | None = None,
    ) -> None:
        self.algo, self.envs, self.budget, self.periods = algo, envs, budget, periods
        self.evaluator, self.eval_cfg, self.stopping = evaluator, eval_cfg, Stopping(stop, budget)
        self.logger, self.monitor, self.store, self.studio = logger, monitor, store, studio
        self.interrupted, self.strides = interrupted, strides
        if strides is not None:
            strides.interrupted = interrupted
        envs.keep_finished = studio.wants_training
        self.saving = Patience("checkpoints", monitor.note)
        self.logging = Patience("curves", monitor.note)
        self.check_every = 1 if algo.learner.arrays is not None else 100  # elsewhere it waits
        self.unchecked = 0
        self.divergence = Divergence()
        self.step = self.due = 0  # steps taken; when something is to be done next
        self.served = (0, 0)  # step and episodes up to which everything due has been done
        self.to_film: dict[int, Recording] = {}  # by number of the episode
        self.best_return = -np.inf
        self.latest: Summary | None = None
        self.owes_evaluation = False  # the last one was interrupted
        self.owes_update = False  # the update of this step was interrupted
        self.evaluated_at = self.saved_at = self.filmed_at = -1
        self.elapsed = 0.0  # seconds in the loop, services left out
        self._clock = self._row_clock = 0.0
        self._row_step = 0  # what speed is measured from

    def train(self) -> str:
        """Run to the end of the budget, a stop.* threshold, or an interruption; says which."""
        if not self.step:
            self.envs.reset()
        if self.owes_evaluation:
            self._evaluate()
            if self.interrupted():
                return "interrupted"
        self.due = self.periods.next_due(self.step)
        self._clock, self._row_clock, self._row_step = time.perf_counter(), self.elapsed, self.step
        if self.owes_update:
            self.due = self.step
        elif reason := self._reason_to_stop():  # it was killed between that and its end
            return reason
        while self.owes_update or self.step < self.budget.steps:
            self._learn(None if self.owes_update else self._advance())
            if self.envs.episodes:
                self._count_episodes()
            if self.owes_update:
                return "interrupted"
            if self.step >= self.due:
                self._serve()
            if self.interrupted():
                return "interrupted"
            if reason := self._reason_to_stop():
                return reason
        return "budget"

    def _learn(self, learned: Metrics | None) -> None:
        """Update the algorithm. `learned`: metrics of the updates on the way to this step."""
        if self.owes_update:
            self.saved_at = -1  # the checkpoint of this step is from before its update
        self._add_metrics(learned)
        try:
            self._add_metrics(self.algo.try_update(self.step))
            self.owes_update = False
        except UpdateInterrupted:
            self.owes_update = True

    def _add_metrics(self, metrics: Metrics | None) -> None:
        if metrics is not None:
            self._check_update(metrics)
            self.logger.add(metrics)

    def _advance(self) -> Metrics | None:
        """Act, step the envs, remember; where it can be, until there is something else to do.

        -> of what was learned on the way, if it was done there.
        """
        left = self.budget.steps - self.step
        if self.strides is not None and left >= self.envs.num_envs:
            whole = self.step + left // self.envs.num_envs * self.envs.num_envs
            try:
                taken = self.strides(self.step, min(self.due, whole))
            finally:
                self.step += self.strides.taken  # also where an env has failed on the way
            if taken:
                return self.strides.learned
        self._settle()
        action = self.algo.act(self.envs.obs[:left], self.step)
        transition, _ = self.envs.step(action)
        self.algo.observe(transition)
        self.step += len(action)
        return None

    def _settle(self) -> None:
        """The envs are where they seem to be: nothing of a stretch is kept from them."""
        if self.strides is not None:
            self.strides.settle()

    def finish(self) -> Summary | None:
        """The last row, evaluation, film and checkpoint, of whatever is not yet done.

        None: interrupted meanwhile; what is missing is made up for when the run goes on.
        """
        self._settle()
        if self.filmed_at < self.step and not self.interrupted():
            self._record()  # while the others are at work
        if self.logger.row_at < self.step:
            self._log()
            self.saved_at = -1  # what was saved of this step is no longer all there is
        if self.evaluated_at < self.step:
            self.saved_at = -1
            self._evaluate()
        self.save()
        self.studio.wait()
        return None if self.owes_evaluation else self.latest

    @property
    def episodes(self) -> int:
        """Training episodes finished so far."""
        return self.logger.tally.count

    def save(self) -> Path | None:
        """Checkpoint this step, unless it has been."""
        if self.saved_at == self.step:
            return None
        return self._save(best=False)

    def _count_episodes(self) -> None:
        """Take note of the episodes that ended at this step, one after the other in the envs' order."""
        before, periods = self.episodes, self.periods
        episodes, recordings = self.envs.take_episodes(), self.envs.take_recordings()
        self.logger.add_episodes(episodes)
        self.stopping.add_episodes(episodes)
        for number, recording in enumerate(recordings, before + 1):
            if number % periods.film_episodes == 0:
                self.to_film[number] = recording
        counted = (periods.log_episodes, periods.evaluate_episodes)
        if self.to_film or any(crossings(before, self.episodes, period) for period in counted):
            self.due = self.step

    def _reason_to_stop(self) -> str | None:
        return self.stopping.reason(self.episodes, self.evaluated_at == self.step)

    def _serve(self) -> None:
        """Do what has fallen due since the last time; the clock of training stands still meanwhile."""
        self._stop_clock()
        self._settle()
        (before, episodes), periods, step = self.served, self.periods, self.step
        self.served = (step, self.episodes)
        self._film_training()  # first: what is saved below is not played again
        rows_by_episodes = crossings(episodes, self.episodes, periods.log_episodes)
        if rows_by_episodes or crossings(before, step, periods.log):
            self._log(in_any_case=rows_by_episodes > 0)
        by_episodes = crossings(episodes, self.episodes, periods.evaluate_episodes)
        if by_episodes or crossings(before, step, periods.evaluate):
            self._evaluate()
        if crossings(before, step, periods.save):
            self.saving(self.save)
        if crossings(before, step, periods.record) and not self.interrupted():
            self._record()
        self.due = periods.next_due(step)
        self._clock = time.perf_counter()

    def _stop_clock(self) -> None:
        now = time.perf_counter()
        self.elapsed, self._clock = self.elapsed + now - self._clock, now

    def _log(self, in_any_case: bool = False) -> None:
        self._stop_clock()
        seconds = max(self.elapsed - self._row_clock, 1e-9)
        times = {
            "time/steps_per_second": (self.step - self._row_step) / seconds,
            "time/elapsed": self.elapsed,
        }
        self._row_clock, self._row_step = self.elapsed, self.step
        row = self.logger.row(times)
        self.logging(lambda: self.logger.write(self.step, row))
        check_finite(row)
        self.monitor.row(self.step, row, in_any_case)
        if "train/loss" in row and self.divergence.begins(row["train/loss"]):
            self.monitor.note(
                f"the loss is {row['train/loss']:.1e} at step {self.step:,}, {Divergence.FACTOR:,} times "
                "what it was: this looks like divergence; try a smaller algo.learning_rate"
            )

    def _evaluate(self) -> None:
        """Measure the policy; a new best is saved at once. Interrupted, it is owed."""
        cfg = self.eval_cfg
        self._check_policy()
        episodes = evaluate(
            self.evaluator, self.algo.predict, cfg.episodes, cfg.seed, cfg.greedy, self.interrupted
        )
        self.owes_evaluation = len(episodes) < cfg.episodes
        if self.owes_evaluation:
            return
        self.latest = summary = summarise(episodes, self.evaluator.success_at)
        self.evaluated_at = self.step
        self.stopping.add_evaluation(summary.mean)
        check_finite({"eval/episode_return": summary.mean})
        self.logging(lambda: self.logger.write_evaluation(self.step, episodes, cfg.seed, summary))
        best, before = summary.mean >= self.best_return, self.best_return
        standing = ("tied for best" if summary.mean == before else "best") if best else ""
        self.best_return = max(self.best_return, summary.mean)
        self.monitor.evaluation(self.step, summary, standing)
        if best and not self.saving(lambda: self._save(best=True)):
            self.best_return = before  # the best of those that are kept

    def _record(self) -> None:
        self.filmed_at = self.step
        self.studio.film_policy(self.step)

    def _film_training(self) -> None:
        self.studio.film_training(self.to_film)
        self.to_film, self.envs.keep_finished = {}, self.studio.wants_training

    def _check_update(self, metrics: Metrics) -> None:
        """A gradient that is no number has spoilt the weights: no step is taken with them."""
        self.unchecked += 1
        if self.unchecked >= self.check_every:
            self.unchecked = 0
            norms = metrics["grad_norm"]
            check_finite({"train/grad_norm": float(norms[0] if len(norms) == 1 else norms.sum())})

    def _check_policy(self) -> None:
        """Weights that are no numbers never become a checkpoint."""
        if not bool(torch.isfinite(self.algo.learner.flat).all()):
            raise NonFinite(
                "the policy's weights are not finite",
                "before a checkpoint",
                "lower algo.learning_rate",
            )

    def _save(self, best: bool) -> Path:
        self._check_policy()
        evaluation = None
        if self.evaluated_at == self.step and self.latest is not None:
            cfg = self.eval_cfg
            evaluation = {
                "episodes": cfg.episodes,
                "seed": cfg.seed,
                "greedy": cfg.greedy,
                "mean_return": self.latest.mean,
            }
        self.logger.flush()  # what is before this checkpoint is not written again
        state = self.state_dict()
        path = self.store.save(
            self.step, policy_arrays(self.algo, self.envs.obs_normalizer), state, evaluation, best
        )
        self.saved_at = self.step
        return path

    def state_dict(self) -> State:
        """Everything beside the policy that going on needs."""
        self._settle()
        return {
            "step": self.step,
            "algo": self.algo.state_dict(),
            "envs": self.envs.state_dict(),
            "logger": self.logger.state_dict(),
            **self.stopping.state_dict(),
            "best_return": None if np.isinf(self.best_return) else float(self.best_return),
            "elapsed": self.elapsed,
            "evaluated_at": self.evaluated_at,
            "owes_evaluation": self.owes_evaluation,
            **({"owes_update": True, "served": list(self.served)} if self.owes_update else {}),
            "latest": None if self.latest is None else list(self.latest),
        }

    def load_state_dict(self, state: State) -> list[int]:
        """Take up the state of a checkpoint. -> the envs that did not replay to where they were."""
        self.step = self.saved_at = cast(int, state["step"])
        self.algo.load_state_dict(cast(State, state["algo"]))
        lost = self.envs.load_state_dict(cast(State, state["envs"]))
        self.logger.load_state_dict(cast(State, state["logger"]))
        self.owes_update = bool(state.get("owes_update", False))
        served = cast("list[int]", state.get("served", [self.step, self.episodes]))
        self.served = (served[0], served[1])
        self.stopping.load_state_dict(state)
        best = state["best_return"]
        self.best_return = -np.inf if best is None else cast(float, best)
        self.elapsed = cast(float, state["elapsed"])
        self.evaluated_at = cast(int, state["evaluated_at"])
        self.owes_evaluation = cast(bool, state["owes_evaluation"])
        if state["latest"] is not None:
            self.latest = Summary(*cast(list[Any], state["latest"]))
        return lost
