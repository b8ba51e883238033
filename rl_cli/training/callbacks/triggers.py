"""Triggers: when a callback is due, by env steps or by finished training episodes."""

from __future__ import annotations

from typing import NamedTuple

from rl_cli.core.schedules import crossings, next_multiple


class Fired(NamedTuple):
    """Which counters made a trigger fire. False if none did."""

    by_steps: bool
    by_episodes: bool

    def __bool__(self) -> bool:
        return self.by_steps or self.by_episodes


class Trigger:
    """Fires when a counter crosses a multiple of its interval.

    `step % every == 0` is not enough: with 8 envs the step counter jumps over most multiples.

    Args:
        every: env steps over all envs; 0: never.
        every_episodes: finished training episodes over all envs; 0: never.

    """

    def __init__(self, every: int, every_episodes: int = 0) -> None:
        self.every, self.every_episodes = every, every_episodes
        self.step = self.episodes = 0  # the counters when the trigger was last checked

    def restart(self, step: int, episodes: int) -> None:
        """Count from these counters; multiples up to them do not fire again."""
        self.step, self.episodes = step, episodes

    def next_due(self, step: int) -> int:
        """First multiple of `every` after `step`; sys.maxsize if there is none."""
        return next_multiple(step, self.every)

    def is_due(self, step: int, episodes: int) -> Fired:
        """Whether a multiple was crossed since the last `fire`."""
        return Fired(
            crossings(self.step, step, self.every) > 0,
            crossings(self.episodes, episodes, self.every_episodes) > 0,
        )

    def fire(self, step: int, episodes: int) -> Fired:
        """As `is_due`, and count from these counters."""
        fired = self.is_due(step, episodes)
        self.restart(step, episodes)
        return fired
