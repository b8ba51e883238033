"""THE loop. It never asks which algorithm it runs."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.checkpoint_store import CheckpointStore
from rl_cli.config import EvalConfig, StopConfig
from rl_cli.errors import NonFinite
from rl_cli.evaluation import Evaluator, evaluate
from rl_cli.logger import Logger, check_finite
from rl_cli.patience import Patience
from rl_cli.policy import policy_arrays
from rl_cli.schedules import crossings
from rl_cli.statistics import Divergence, Summary, summarise
from rl_cli.terminal import Monitor
from rl_cli.types import Metrics, State
from rl_cli.vector import VectorEnv

Recorder = Callable[[int], str | None]
"""Films the policy at a step; a line to show when that is not possible."""


@dataclasses.dataclass(frozen=True)
class Periods:
    """Env steps between things that are done now and then; 0: never."""

    log: int
    evaluate: int
    record: int
    save: int

    def next_due(self, step: int) -> int:
        """First step after `step` at which any of them is due."""
        periods: tuple[int, ...] = dataclasses.astuple(self)
        return min((step // period + 1) * period for period in periods if period)


class Trainer:
    """One run: acts, steps, learns; and now and then logs, evaluates, films and saves.

    Args:
        interrupted: asked once per step; a signal's number ends the run after a checkpoint.
        recorder: None films nothing.

    """

    def __init__(
        self,
        algo: Algorithm[Any],
        envs: VectorEnv,
        budget: int,
        periods: Periods,
        evaluator: Evaluator,
        eval_cfg: EvalConfig,
        stop: StopConfig,
        logger: Logger,
        monitor: Monitor,
        store: CheckpointStore,
        recorder: Recorder | None,
        interrupted: Callable[[], bool],
    ) -> None:
        self.algo, self.envs, self.budget, self.periods = algo, envs, budget, periods
        self.evaluator, self.eval_cfg, self.stop = evaluator, eval_cfg, stop
        self.logger, self.monitor, self.store, self.recorder = logger, monitor, store, recorder
        self.interrupted = interrupted
        self.saving = Patience("checkpoints", monitor.note)
        self.logging = Patience("curves", monitor.note)
        self.check_every = 1 if algo.learner.arrays is not None else 100  # elsewhere it waits
        self.unchecked = 0
        self.divergence = Divergence()
        self.step = 0
        self.recent: deque[float] = deque(maxlen=stop.window)  # training returns
        self.best_return = -np.inf
        self.latest: Summary | None = None
        self.owes_evaluation = False  # the last one was interrupted
        self.evaluated_at = self.saved_at = self.filmed_at = -1
        self.elapsed = 0.0  # seconds in the loop, services left out
        self._clock = self._row_clock = 0.0
        self._row_step = 0

    def train(self) -> str:
        """Run to the end of the budget, a stop.* threshold, or an interruption; says which."""
        obs = self.envs.obs if self.step else self.envs.reset()
        if self.owes_evaluation:
            self._evaluate()
            if reason := "interrupted" if self.interrupted() else self._reason_to_stop():
                return reason
        due = self.periods.next_due(self.step)
        self._clock, self._row_clock, self._row_step = time.perf_counter(), self.elapsed, self.step
        while self.step < self.budget:
            before = self.step
            action = self.algo.act(obs[: self.budget - before], before)
            transition, obs = self.envs.step(action)
            self.algo.observe(transition)
            self.step += len(action)
            metrics = self.algo.update(self.step)
            if metrics is not None:
                self._check_update(metrics)
                self.logger.add(metrics)
            if self.envs.episodes:
                self._count_episodes()
            if self.step >= due:
                self._serve(before)
                due = self.periods.next_due(self.step)
            if self.interrupted():
                return "interrupted"
            if reason := self._reason_to_stop():
                return reason
        return "budget"

    def finish(self) -> Summary | None:
        """The last row, evaluation, film and checkpoint, of whatever is not yet done.

        None: interrupted meanwhile; what is missing is made up for when the run goes on.
        """
        if self._row_step < self.step:
            self._log()
            self.saved_at = -1  # what was saved of this step is no longer all there is
        if self.evaluated_at < self.step:
            self.saved_at = -1
            self._evaluate()
        self.save()
        if self.filmed_at < self.step and not self.interrupted():
            self._record()
        return None if self.owes_evaluation else self.latest

    def save(self) -> Path | None:
        """Checkpoint this step, unless it has been."""
        if self.saved_at == self.step:
            return None
        return self._save(best=False)

    def _count_episodes(self) -> None:
        episodes = self.envs.take_episodes()
        self.logger.add_episodes(episodes)
        self.recent.extend(e.episode_return for e in episodes)

    def _reason_to_stop(self) -> str | None:
        goal = self.stop.eval_return
        fresh = self.latest if self.evaluated_at == self.step else None
        if goal is not None and fresh is not None and fresh.mean >= goal:
            return f"eval return {fresh.mean:.1f} reached stop.eval_return={goal:g}"
        goal = self.stop.train_return
        if goal is not None and len(self.recent) == self.recent.maxlen:
            mean = sum(self.recent) / len(self.recent)
            if mean >= goal:
                return f"mean training return {mean:.1f} reached stop.train_return={goal:g}"
        return None

    def _serve(self, before: int) -> None:
        """Do what fell due in (before, step]; the clock of training stands still meanwhile."""
        self._stop_clock()
        periods, step = self.periods, self.step
        if crossings(before, step, periods.log):
            self._log()
        if crossings(before, step, periods.evaluate):
            self._evaluate()
        if crossings(before, step, periods.save):
            self.saving(self.save)
        if crossings(before, step, periods.record) and not self.interrupted():
            self._record()
        self._clock = time.perf_counter()

    def _stop_clock(self) -> None:
        now = time.perf_counter()
        self.elapsed, self._clock = self.elapsed + now - self._clock, now

    def _log(self) -> None:
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
        self.monitor.row(self.step, row)
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
        check_finite({"eval/episode_return": summary.mean})
        self.logging(lambda: self.logger.write_evaluation(self.step, episodes, cfg.seed, summary))
        best, before = summary.mean >= self.best_return, self.best_return
        self.best_return = max(self.best_return, summary.mean)
        self.monitor.evaluation(self.step, summary, best)
        if best and not self.saving(lambda: self._save(best=True)):
            self.best_return = before  # the best of those that are kept

    def _record(self) -> None:
        self.filmed_at = self.step
        if self.recorder is not None and (problem := self.recorder(self.step)):
            self.monitor.note(problem)
            self.recorder = None  # said once; training goes on

    def _check_update(self, metrics: Metrics) -> None:
        """A gradient that is no number has spoilt the weights: no step is taken with them."""
        self.unchecked += 1
        if self.unchecked >= self.check_every:
            self.unchecked = 0
            check_finite({"train/grad_norm": float(metrics["grad_norm"])})

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
        return {
            "step": self.step,
            "algo": self.algo.state_dict(),
            "envs": self.envs.state_dict(),
            "logger": self.logger.state_dict(),
            "recent": list(self.recent),
            "best_return": None if np.isinf(self.best_return) else float(self.best_return),
            "elapsed": self.elapsed,
            "evaluated_at": self.evaluated_at,
            "owes_evaluation": self.owes_evaluation,
            "latest": None if self.latest is None else list(self.latest),
        }

    def load_state_dict(self, state: State) -> list[int]:
        """Take up the state of a checkpoint. -> the envs that did not replay to where they were."""
        self.step = self.saved_at = cast(int, state["step"])
        self.algo.load_state_dict(cast(State, state["algo"]))
        lost = self.envs.load_state_dict(cast(State, state["envs"]))
        self.logger.load_state_dict(cast(State, state["logger"]))
        self.recent.extend(cast(list[float], state["recent"]))
        best = state["best_return"]
        self.best_return = -np.inf if best is None else cast(float, best)
        self.elapsed = cast(float, state["elapsed"])
        self.evaluated_at = cast(int, state["evaluated_at"])
        self.owes_evaluation = cast(bool, state["owes_evaluation"])
        if state["latest"] is not None:
            self.latest = Summary(*cast(list[Any], state["latest"]))
        return lost
