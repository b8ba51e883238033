"""Schedules and periods. Steps are env steps over all envs."""

from __future__ import annotations

import sys


def linear(start: float, end: float, duration: float, step: int) -> float:
    """Linear from `start` to `end` in `duration` steps, then constant."""
    return start + (end - start) * min(1.0, step / duration)


def exponential(start: float, end: float, duration: float, step: int) -> float:
    """Exponential from `start` to `end` > 0 in `duration` steps, then constant."""
    return float(start * (end / start) ** min(1.0, step / duration))


def crossings(before: int, after: int, period: int) -> int:
    """Number of multiples of `period` in (before, after]; 0 for period 0, which means never.

    Correct for any number of envs, unlike `step % period == 0`: 8 envs go from step 96 to 104.
    """
    return after // period - before // period if period else 0


def next_multiple(step: int, *periods: int) -> int:
    """The first step after `step` that is a multiple of a nonzero period; else sys.maxsize."""
    return min(((step // period + 1) * period for period in periods if period), default=sys.maxsize)
