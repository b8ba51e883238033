"""The results as sentences and notes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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


MAX_SEEDS = 8
"""Seeds that are named; more are counted."""


def lost_seeds(row: Row) -> str:
    """Which seeds of a group have no result: "2 of 6; failed: seeds 1, 3, 4; missing: seed 5"."""
    parts = [f"{row.count} of {row.total}"]
    for state, seeds in row.lost.items():
        more = f" and {len(seeds) - MAX_SEEDS} more" if len(seeds) > MAX_SEEDS else ""
        named = ", ".join(map(str, seeds[:MAX_SEEDS]))
        parts.append(f"{state}: seed{'s' if len(seeds) > 1 else ''} {named}{more}")
    return "; ".join(parts)


def answer(rows: Sequence[Row]) -> str:
    """Which group of a section has the highest return, and whether it is better than the next one."""
    env = rows[0].group.section
    known = sorted((row for row in rows if row.count), key=lambda row: -row.iqm.value)
    if not known:
        return f"{env}: no run has a result."
    best = known[0]
    text = f"{env}: {_has(best)} the final return {interval(best.iqm)}"
    text += f" (IQM of {best.count} run{'s' if best.count > 1 else ''})"
    if len(known) == 1:
        return text + "."
    first = rows[0]
    of_search = first.group.role is not None and first.count and first is not best
    second = first if of_search else known[1]  # in a search, the defaults count
    text += f", {_has(second)} {interval(second.iqm)}"
    return f"{text}. {_difference(best, second)}."


def _has(row: Row) -> str:
    role = row.group.role
    return f"{row.group.method} has" if role is None or role.trial else "the defaults have"


def _difference(best: Row, second: Row) -> str:
    found = improvement(best.finals, second.finals)
    needed = seeds_needed(best.finals, second.finals)
    if not math.isfinite(found.low):
        more = (
            "" if needed is None else f"; about {max(needed, MIN_SEEDS):,} by the spread of these"
        )
        return f"Too few seeds for a conclusion: at least {MIN_SEEDS} runs of each are needed{more}"
    chance = f"A run of the first is better than one of the second with probability {share(found)}"
    if found.low > 0.5:
        return chance
    if found.high < 0.5:
        return f"{chance}: a run of the second is better more often, although the first has the higher IQM"
    more = f"; about {needed:,} seeds each would be needed" if needed else ""
    return f"{chance}: these runs show no difference{more}"


METHODS = (
    "Final return: mean return of a run's last evaluation. IQM: mean of the middle half of the runs. "
    "Intervals: 95 % percentile bootstrap over runs (Agarwal et al. 2021).",
    "Runs of a group differ only in the seed; keys of logging, video, checkpoints, device and "
    "evaluation frequency do not separate groups.",
    "Steps and time to the threshold: Kaplan-Meier median over runs; a run that never reached it "
    "counts as observed until its end. In brackets: runs that reached it.",
    "P(better): probability that a run of the group has a higher final return than one of the first group; "
    "ties count one half. Seeds to show it: per group, for the observed difference of means to be found "
    "with a power of 80 % at a level of 5 % (normal approximation).",
    "Curves: IQM over seeds of evaluations, interpolated between a run's own evaluations; runs that did "
    "not complete are included up to their last evaluation, and the number of runs is shown at the pointer.",
)
"""How to read a report."""


def counts(rows: Sequence[Row]) -> list[str]:
    """Groups that are too small, runs that are not counted, and what runs of a group do not share."""
    text = []
    if any(0 < row.count < MIN_SEEDS for row in rows):
        text.append(f"Groups of fewer than {MIN_SEEDS} runs with a result have no interval.")
    text += repeated_seeds(rows)
    every = [run for row in rows for run in row.group.runs]
    if skipped := [run.skipped for run in every if run.skipped]:
        text.append(
            f"Evaluation rows without a finite return, left out: {sum(skipped):,} in {len(skipped):,} runs."
        )
    if len({run.machine for run in every} - {""}) > 1:
        text.append("Times were measured on different machines.")
    lines = [*_lengths(rows), *_versions(rows)]
    more = [f"{len(lines) - MAX_LINES} more such lines."] if len(lines) > MAX_LINES else []
    return [*text, *lines[:MAX_LINES], *more]


def repeated_seeds(rows: Sequence[Row]) -> list[str]:
    """How many runs are not counted because another one of their group has the same seed."""
    repeated = sum(row.group.repeated for row in rows)
    rule = "a completed one counts before others, then the one with the latest evaluation"
    return [f"Runs that repeat a seed of their group: {repeated}; {rule}."] if repeated else []


MAX_LINES = 12
"""Lines about single groups; more are counted."""


def _lengths(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.ends is not None and row.ends[0] < row.ends[1]:
            low, high = row.ends
            yield (
                f"{row.group.name}: the runs end at steps {low:,} to {high:,}; each counts with its own last "
                "evaluation."
            )


def _versions(rows: Sequence[Row]) -> Iterator[str]:
    """Packages of which runs that are averaged had several versions."""
    mixed: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        known = [run.versions for run in row.group.runs if run.versions]
        for name in dict.fromkeys(key for versions in known for key in versions):
            found = sorted({versions[name] for versions in known if name in versions})
            if len(found) > 1:
                mixed.setdefault((name, *found), []).append(row.group.name)
    for (name, *found), groups in mixed.items():
        more = f" and {len(groups) - 2} more" if len(groups) > 2 else ""
        yield f"Runs of {name} {', '.join(found)} are averaged: {', '.join(groups[:2])}{more}."
