"""One row per group: result, interval, worst seed, time to the threshold, comparison with the first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from rl_cli.report import comparison
from rl_cli.report.comparison import Interval, Threshold
from rl_cli.report.groups import Group


@dataclasses.dataclass(frozen=True)
class Row:
    """Statistics of a group.

    Attributes:
        group: the group.
        finals: (n,) return of the last evaluation of each run; NaN: the run has no result.
        iqm: of `finals`.
        worst, best: lowest and highest of `finals`.
        threshold: return that counts as success; None: there is none.
        solved: runs whose last evaluation reached the threshold; None: there is no threshold.
        steps, seconds: until an evaluation reached the threshold; None: there is no threshold.
        reached: steps, and share of the runs that had reached the threshold by each; None: there is none.
        improvement: probability that a run is better than one of the first group of the same section.
        seeds_needed: per group, to show the difference from that group.

    """

    group: Group
    finals: np.ndarray
    iqm: Interval
    worst: float
    best: float
    threshold: float | None
    solved: int | None
    steps: Threshold | None
    seconds: Threshold | None
    reached: tuple[np.ndarray, np.ndarray] | None
    improvement: Interval | None
    seeds_needed: int | None

    @property
    def count(self) -> int:
        """Runs with a result."""
        return int(np.isfinite(self.finals).sum())

    @property
    def ends(self) -> tuple[int, int] | None:
        """Lowest and highest step of a last evaluation, of the runs with a result; None: there are none."""
        last = [int(run.steps[-1]) for run in self.group.runs if math.isfinite(run.final)]
        return (min(last), max(last)) if last else None

    @property
    def total(self) -> int:
        """Seeds of the group, with those that have no result or no run."""
        return len(self.group.runs) + len(self.group.absent)

    @property
    def lost(self) -> Mapping[str, Sequence[int]]:
        """State -> seeds without a result: failed, died, missing, running, interrupted."""
        found: dict[str, list[int]] = {}
        for run in self.group.runs:
            if not math.isfinite(run.final):
                found.setdefault(run.state, []).append(run.seed)
        for each in self.group.absent:
            found.setdefault(each.state, []).append(each.seed)
        return {state: sorted(found[state]) for state in sorted(found)}

    @property
    def seeds(self) -> str:
        """Number of seeds with a result, and what became of the others: "2 of 6, 4 failed"."""
        if not self.lost:
            return str(self.count)
        others = [f"{len(seeds)} {state}" for state, seeds in self.lost.items()]
        return ", ".join([f"{self.count} of {self.total}", *others])


def summarize(groups: Sequence[Group], threshold: float | None = None) -> list[Row]:
    """Rows in the order of the groups.

    Args:
        groups: of a report.
        threshold: replaces the threshold of the runs.

    """
    first: dict[str, np.ndarray] = {}
    of_env = {group.env: at for group in groups if (at := _threshold(group)) is not None}
    rows = []
    for group in groups:
        finals = np.array([run.final for run in group.runs])
        against = first.get(group.section)
        first.setdefault(group.section, finals)
        if group.is_chosen_from:
            against = None
        at = threshold
        if at is None and (at := _threshold(group)) is None:  # its runs ended before an episode did
            at = of_env.get(group.env)
        rows.append(_row(group, finals, against, at))
    return rows


def _row(
    group: Group, finals: np.ndarray, against: np.ndarray | None, threshold: float | None
) -> Row:
    known = comparison.finite(finals)
    reached = (
        None if threshold is None else [_first_at(run.returns, threshold) for run in group.runs]
    )
    steps = None if reached is None else _events([run.steps for run in group.runs], reached)
    seconds = None if reached is None else _events([run.seconds_at for run in group.runs], reached)
    to = None if steps is None else comparison.time_to(steps)
    return Row(
        group,
        finals,
        comparison.iqm_of(finals),
        float(known.min()) if len(known) else math.nan,
        float(known.max()) if len(known) else math.nan,
        threshold,
        None if threshold is None else int((known >= threshold).sum()),
        to,
        None if seconds is None or to is None else _seconds_to(seconds, to),
        None if steps is None else comparison.share_reached(steps),
        None if against is None else comparison.improvement(finals, against),
        None if against is None else comparison.seeds_needed(finals, against),
    )


def _seconds_to(seconds: Sequence[tuple[float, bool]], steps: Threshold) -> Threshold:
    """Seconds to the threshold; without a median if steps have none.

    Runs are equally long in steps but not in seconds: those that took less would count as observed for less time.
    """
    found = comparison.time_to(seconds)
    return found if math.isfinite(steps.median) else found._replace(median=math.inf)


def _threshold(group: Group) -> float | None:
    found = [run.success_at for run in group.runs if run.success_at is not None]
    return found[0] if found else None


def _first_at(returns: np.ndarray, threshold: float) -> int | None:
    """Index of the first evaluation that reached the threshold."""
    hits = np.flatnonzero(returns >= threshold)
    return int(hits[0]) if len(hits) else None


def _events(times: Sequence[np.ndarray], reached: Sequence[int | None]) -> list[tuple[float, bool]]:
    """Of steps or seconds: per run when it reached the threshold, or until when it was observed without.

    A run without an evaluation has been observed for no time.
    """
    events = []
    for values, i in zip(times, reached, strict=True):
        time = (values[-1] if i is None else values[i]) if len(values) else 0.0
        if math.isfinite(time):
            events.append((float(time), i is not None))
    return events
