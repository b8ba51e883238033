"""A callback of another package: it ends a run after a number of successful training episodes."""

from __future__ import annotations

from collections.abc import Sequence

from rl_cli.core.types import Episode, Recording, State
from rl_cli.training.callbacks.base import Callback, CallbackContext, RunState


class SuccessLimit(Callback):
    """Ends the run when `episodes` training episodes have had a return of at least `threshold`."""

    name = "success_limit"

    def __init__(self, context: CallbackContext, episodes: int, threshold: float = 1.0) -> None:
        self.limit, self.threshold, self.successes = episodes, threshold, 0

    def add_episodes(
        self, episodes: Sequence[Episode], recordings: Sequence[Recording], state: RunState
    ) -> None:
        self.successes += sum(e.episode_return >= self.threshold for e in episodes)

    def stop_reason(self, state: RunState) -> str | None:
        reached = self.successes >= self.limit
        return f"{self.successes} successful episodes" if reached else None

    def state_dict(self) -> State:
        return {"successes": self.successes}

    def load_state_dict(self, state: State) -> None:
        self.successes = int(state["successes"])
