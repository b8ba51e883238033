"""What a run does now and then, and when it is due."""

from __future__ import annotations

import dataclasses

from rl_cli.config.run import RunConfig
from rl_cli.core.schedules import next_multiple


@dataclasses.dataclass(frozen=True)
class Periods:
    """Env steps between things that are done now and then; 0: never.

    The last three count finished training episodes instead.
    """

    log: int
    evaluate: int
    record: int
    save: int
    log_episodes: int = 0
    evaluate_episodes: int = 0
    film_episodes: int = 0

    def next_due(self, step: int) -> int:
        """First step after `step` at which any of those that count steps is due.

        Far away where none counts steps.
        """
        return next_multiple(step, self.log, self.evaluate, self.record, self.save)


def periods_of(cfg: RunConfig) -> Periods:
    """The periods that a configuration asks for."""
    return Periods(
        log=cfg.log.every,
        evaluate=cfg.eval.every,
        record=cfg.video.every,
        save=cfg.checkpoint.every,
        log_episodes=cfg.log.every_episodes,
        evaluate_episodes=cfg.eval.every_episodes,
        film_episodes=cfg.video.every_episodes,
    )
