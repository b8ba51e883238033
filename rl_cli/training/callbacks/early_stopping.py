"""Early stopping: end a run when a mean return reaches its threshold."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rl_cli.config.run import StopConfig
from rl_cli.core.fields import Fields, saved_numbers
from rl_cli.core.types import Episode, Recording, State
from rl_cli.training.callbacks.base import Callback, RunState
from rl_cli.training.callbacks.history import EvaluationHistory


class EarlyStopping(Callback):
    """Ends the run at a threshold of `stop.*`.

    Args:
        cfg: thresholds and the number of returns that each mean is taken over.
        history: of the evaluations.

    """

    name = "early_stopping"

    def __init__(self, cfg: StopConfig, history: EvaluationHistory) -> None:
        self.cfg, self.history = cfg, history
        self.returns: deque[float] = deque(maxlen=cfg.window)  # of the last training episodes

    def add_episodes(
        self, episodes: Sequence[Episode], recordings: Sequence[Recording], state: RunState
    ) -> None:
        self.returns.extend(e.episode_return for e in episodes)

    def stop_reason(self, state: RunState) -> str | None:
        cfg, history = self.cfg, self.history
        if history.step == state.step:
            mean = reached(history.means, cfg.eval_return)
            if mean is not None:
                several = f"mean of {cfg.eval_window} evals"
                which = several if cfg.eval_window > 1 else "eval return"
                return f"{which} {mean:.1f} reached stop.eval_return={cfg.eval_return:g}"
        if (mean := reached(self.returns, cfg.train_return)) is not None:
            return f"mean training return {mean:.1f} reached stop.train_return={cfg.train_return:g}"
        return None

    def state_dict(self) -> State:
        return {"returns": saved_numbers(self.returns)}

    def load_state_dict(self, state: State) -> None:
        self.returns.extend(Fields(state).numbers("returns"))


def reached(values: deque[float], threshold: float | None) -> float | None:
    """The mean of a full window if it is at least `threshold`; else None."""
    if threshold is None or len(values) != values.maxlen:
        return None
    mean = sum(values) / len(values)
    return mean if mean >= threshold else None
