"""The history of a run's evaluations."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from rl_cli.core.fields import Fields, StateError, integer, number, saved_numbers
from rl_cli.core.types import State
from rl_cli.tracking.statistics import Summary


class EvaluationHistory:
    """The latest evaluation, the best return so far, and the last means.

    Args:
        window: number of means kept in `means`.

    """

    def __init__(self, window: int) -> None:
        self.means: deque[float] = deque(maxlen=window)
        self.step = -1  # env step of the latest evaluation
        self.latest: Summary | None = None
        self.best_return = self.previous_best = -np.inf
        self.best_is_unsaved = False  # the latest evaluation is the best, without a checkpoint
        self.interrupted = False  # the evaluation of the current step is incomplete

    def add(self, step: int, summary: Summary) -> str:
        """Record a complete evaluation. -> "best", "tied for best" or empty."""
        self.step, self.latest, self.interrupted = step, summary, False
        self.means.append(summary.mean)
        before = self.best_return
        if not summary.mean >= before:
            return ""
        self.best_return, self.previous_best = summary.mean, before
        self.best_is_unsaved = True
        return "tied for best" if summary.mean == before else "best"

    def best_was_saved(self, saved: bool) -> None:
        """Record whether the best policy's checkpoint was written; if not, the previous best counts."""
        self.best_is_unsaved = False
        if not saved:
            self.best_return = self.previous_best

    def mark_interrupted(self) -> None:
        """Record that a signal stopped the evaluation; the resumed run repeats it."""
        self.interrupted = True

    def state_dict(self) -> State:
        return {
            "means": saved_numbers(self.means),
            "step": self.step,
            "latest": None if self.latest is None else list(self.latest),
            "best_return": None if np.isinf(self.best_return) else float(self.best_return),
            "interrupted": self.interrupted,
        }

    def load_state_dict(self, state: State) -> None:
        """Raises StateError for results that no evaluation has."""
        fields = Fields(state)
        self.means.extend(fields.numbers("means"))
        self.step = fields.integer("step", -1)
        self.latest = _summary(fields)
        if (self.latest is None) != (self.step < 0):
            raise StateError("latest and step do not belong together")
        best = fields.get("best_return")
        self.best_return = -np.inf if best is None else fields.number("best_return")
        self.interrupted = fields.boolean("interrupted")


def _summary(fields: Fields) -> Summary | None:
    """The latest evaluation of a checkpoint; None: there was none."""
    if fields.get("latest") is None:
        return None
    values = dict(zip(Summary._fields, fields.items("latest", len(Summary._fields)), strict=True))
    read: dict[str, Any] = {"episodes": integer(values["episodes"], "latest.episodes", 1)}
    for name in Summary._fields[1:]:
        missing = values[name] is None and name.startswith("success")
        read[name] = None if missing else number(values[name], f"latest.{name}")
    return Summary(**read)
