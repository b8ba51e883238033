"""When a run ends: its budget, and reasons to end before it is spent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, cast

from rl_cli.config.run import StopConfig
from rl_cli.core.types import Episode, State


class Budget(NamedTuple):
    """Env steps and, unless None, training episodes; whichever is spent first ends the run."""

    steps: int
    episodes: int | None = None


class Stopping:
    """Remembers the returns that the thresholds of `stop.*` are asked of."""

    def __init__(self, cfg: StopConfig, budget: Budget) -> None:
        self.cfg, self.budget = cfg, budget
        self.recent: deque[float] = deque(maxlen=cfg.window)  # training returns
        self.evaluations: deque[float] = deque(maxlen=cfg.eval_window)  # their means

    def add_episodes(self, episodes: Iterable[Episode]) -> None:
        self.recent.extend(e.episode_return for e in episodes)

    def add_evaluation(self, mean: float) -> None:
        self.evaluations.append(mean)

    def reason(self, episodes: int, evaluated: bool) -> str | None:
        """Why the run ends at this step; None: it does not, unless its steps are spent.

        Args:
            episodes: finished so far.
            evaluated: whether the last evaluation is of this very step.

        """
        cfg = self.cfg
        if evaluated and (mean := _reached(self.evaluations, cfg.eval_return)) is not None:
            which = f"mean of {cfg.eval_window} evals" if cfg.eval_window > 1 else "eval return"
            return f"{which} {mean:.1f} reached stop.eval_return={cfg.eval_return:g}"
        if (mean := _reached(self.recent, cfg.train_return)) is not None:
            return f"mean training return {mean:.1f} reached stop.train_return={cfg.train_return:g}"
        if self.budget.episodes is not None and episodes >= self.budget.episodes:
            return f"total_episodes={self.budget.episodes}"
        return None

    def state_dict(self) -> State:
        return {"recent": list(self.recent), "evaluations": list(self.evaluations)}

    def load_state_dict(self, state: State) -> None:
        self.recent.extend(cast(list[float], state["recent"]))
        self.evaluations.extend(cast(list[float], state.get("evaluations", [])))


def _reached(values: deque[float], goal: float | None) -> float | None:
    """Mean of a full window, if it is at the goal or above."""
    if goal is None or len(values) != values.maxlen:
        return None
    mean = sum(values) / len(values)
    return mean if mean >= goal else None
