"""Evaluation at intervals, and the history of its results."""

from __future__ import annotations

from collections.abc import Callable

from rl_cli.config.run import EvalConfig
from rl_cli.core.types import State
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.tracking.logger import check_finite
from rl_cli.tracking.statistics import summarize
from rl_cli.training.callbacks.base import Callback, RunState
from rl_cli.training.callbacks.history import EvaluationHistory
from rl_cli.training.callbacks.reporter import Reporter
from rl_cli.training.callbacks.triggers import Trigger
from rl_cli.training.policy import RunPolicy


class EvaluationCallback(Callback):
    """Evaluates the policy at intervals, on a separate env with separate seeds.

    Args:
        history: of the results.
        evaluator: plays the episodes; its owner closes it.
        policy: of the run.
        cfg: number of episodes, seed, greedy or sampled actions.
        trigger: the evaluation interval.
        reporter: receives the results.
        interrupted: whether a stop signal arrived; checked between two episodes.

    """

    name = "evaluation"

    def __init__(
        self,
        history: EvaluationHistory,
        evaluator: Evaluator,
        policy: RunPolicy,
        cfg: EvalConfig,
        trigger: Trigger,
        reporter: Reporter,
        interrupted: Callable[[], bool],
    ) -> None:
        self.history, self.evaluator, self.policy, self.cfg = history, evaluator, policy, cfg
        self.trigger, self.reporter, self.interrupted = trigger, reporter, interrupted

    def start(self, state: RunState) -> None:
        self.trigger.restart(*state.served)

    def next_due(self, step: int) -> int:
        return step if self.history.interrupted else self.trigger.next_due(step)

    def is_due(self, state: RunState) -> bool:
        return bool(self.trigger.is_due(state.step, state.episodes))

    def run(self, state: RunState) -> None:
        if self.trigger.fire(state.step, state.episodes) or self.history.interrupted:
            self._evaluate(state)

    def finish(self, state: RunState) -> None:
        if self.history.step < state.step:
            self._evaluate(state)

    def state_dict(self) -> State:
        return self.history.state_dict()

    def load_state_dict(self, state: State) -> None:
        self.history.load_state_dict(state)

    def _evaluate(self, state: RunState) -> None:
        cfg, history, policy = self.cfg, self.history, self.policy
        policy.check_finite()
        is_shipped = self.evaluator.always_finite  # such an env changes nothing in the process
        episodes = evaluate(
            self.evaluator,
            policy.predict if is_shipped else policy.predict_restored,
            cfg.episodes,
            cfg.seed,
            cfg.greedy,
            self.interrupted,
        )
        policy.restore_settings(True)
        if len(episodes) < cfg.episodes:
            history.mark_interrupted()
            return
        summary = summarize(episodes, self.evaluator.success_at)
        rank = history.add(state.step, summary)
        check_finite({"eval/episode_return": summary.mean})
        best = float(history.best_return)
        self.reporter.evaluation(state.step, episodes, cfg.seed, summary, rank, best)
