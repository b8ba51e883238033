"""Numbers that change with the step, and periods. All count env steps over all envs."""

from __future__ import annotations

import sys


def linear(start: float, end: float, duration: float, step: int) -> float:
    """From start to end in `duration` steps, then end."""
    return start + (end - start) * min(1.0, step / duration)


def exponential(start: float, end: float, duration: float, step: int) -> float:
    """From start to end in `duration` steps by a constant factor per step, then end (end > 0)."""
    return float(start * (end / start) ** min(1.0, step / duration))


def crossings(before: int, after: int, period: int) -> int:
    """How many multiples of `period` lie in (before, after]; 0 for period 0, which means never.

    Right for any number of envs, where `step % period == 0` is not: 8 envs step over 100.
    """
    return after // period - before // period if period else 0


def next_multiple(step: int, *periods: int) -> int:
    """The first step after this one that is a multiple of one of the periods; 0: of none.

    Far away where there is no period.
    """
    return min(((step // period + 1) * period for period in periods if period), default=sys.maxsize)
