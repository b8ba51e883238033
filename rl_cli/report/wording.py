"""The results as sentences and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rl_cli.report.comparison import MIN_SEEDS, Interval, improvement, seeds_needed
from rl_cli.report.summary import Row
from rl_cli.tracking.formatting import number


def interval(found: Interval) -> str:
    """12.3 [11.0, 13.1], or the value alone if there is no interval."""
    if not math.isfinite(found.value):
        return "no result"
    if not math.isfinite(found.low):
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def share(found: Interval) -> str:
    """A probability with its interval: 93 % [85, 99]."""
    if not math.isfinite(found.value):
        return "no result"
    if not math.isfinite(found.low):
        return f"{found.value:.0%}"
    return f"{found.value:.0%} [{found.low * 100:.0f}, {found.high * 100:.0f}]"


def answer(rows: Sequence[Row]) -> str:
    """Which group of one env has the highest return, and whether it is better than the next one."""
    env = rows[0].group.env
    known = sorted((row for row in rows if row.count), key=lambda row: -row.iqm.value)
    if not known:
        return f"{env}: no run has a result."
    best = known[0]
    text = f"{env}: {best.group.method} has the final return {interval(best.iqm)}"
    text += f" (IQM of {best.count} run{'s' if best.count > 1 else ''})"
    if len(known) == 1:
        return text + "."
    second = known[1]
    text += f", {second.group.method} has {interval(second.iqm)}"
    return f"{text}. {_difference(best, second)}."


def _difference(best: Row, second: Row) -> str:
    found = improvement(best.finals, second.finals)
    if not math.isfinite(found.low):
        return f"Too few seeds to tell: at least {MIN_SEEDS} runs of each are needed"
    chance = f"A run of the first is better than one of the second with probability {share(found)}"
    if found.low > 0.5:
        return chance
    needed = seeds_needed(best.finals, second.finals)
    more = f"; about {needed:,} seeds each would be needed" if needed else ""
    return f"{chance}: these runs show no difference{more}"


METHODS = (
    "Final return: mean return of a run's last evaluation. IQM: mean of the middle half of the runs. "
    "Intervals: 95 % percentile bootstrap over runs (Agarwal et al. 2021).",
    "Runs of a group differ only in the seed; keys of logging, video, checkpoints, device and "
    "evaluation frequency do not separate groups.",
    "Steps and time to the threshold: Kaplan-Meier median over runs; a run that never reached it "
    "counts as observed until its end. In brackets: runs that reached it.",
    "Curves: IQM over seeds of evaluations, interpolated between a run's own evaluations; runs that did "
    "not complete are included up to their last evaluation.",
)
"""How to read a report."""


def counts(rows: Sequence[Row]) -> list[str]:
    """Groups that are too small, and runs that are not counted."""
    text = []
    if any(0 < row.count < MIN_SEEDS for row in rows):
        text.append(f"Groups of fewer than {MIN_SEEDS} runs with a result have no interval.")
    if repeated := sum(row.group.repeated for row in rows):
        text.append(
            f"Runs that repeat a seed of their group: {repeated}; the one that got furthest counts."
        )
    return text
