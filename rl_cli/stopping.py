"""Reasons to end a run before its budget is spent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import cast

from rl_cli.config import StopConfig
from rl_cli.statistics import Summary
from rl_cli.types import Episode, State


class Stopping:
    """Remembers the returns that the thresholds of `stop.*` are asked of."""

    def __init__(self, cfg: StopConfig) -> None:
        self.cfg = cfg
        self.recent: deque[float] = deque(maxlen=cfg.window)  # training returns

    def add_episodes(self, episodes: Iterable[Episode]) -> None:
        self.recent.extend(e.episode_return for e in episodes)

    def reason(self, fresh: Summary | None) -> str | None:
        """Why the run ends now; None: it does not. `fresh`: the evaluation of this very step."""
        goal = self.cfg.eval_return
        if goal is not None and fresh is not None and fresh.mean >= goal:
            return f"eval return {fresh.mean:.1f} reached stop.eval_return={goal:g}"
        goal = self.cfg.train_return
        if goal is not None and len(self.recent) == self.recent.maxlen:
            mean = sum(self.recent) / len(self.recent)
            if mean >= goal:
                return f"mean training return {mean:.1f} reached stop.train_return={goal:g}"
        return None

    def state_dict(self) -> State:
        return {"recent": list(self.recent)}

    def load_state_dict(self, state: State) -> None:
        self.recent.extend(cast(list[float], state["recent"]))
