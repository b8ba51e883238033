"""What a run does now and then, and when it is due."""

from __future__ import annotations

import dataclasses


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
