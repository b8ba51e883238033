"""Whether a trial is better than the defaults, from runs on fresh seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from rl_cli.report.comparison import MIN_SEEDS, Interval, iqm_of
from rl_cli.search.trials import RunResult
from rl_cli.tracking.statistics import iqm

REPEATS = 10_000
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Checked:
    """A candidate on fresh seeds.

    Attributes:
        trial: its label; 0: the defaults.
        values: objective of each complete run.
        failed: runs that failed.
        iqm: of the values, with its 95 % interval.
        gain: how much better it is than the defaults, with an interval; None: of the defaults.

    """

    trial: int
    values: Sequence[float]
    failed: int
    iqm: Interval
    gain: Interval | None

    @property
    def is_better(self) -> bool:
        """Whether the interval of the gain is above 0, and no run failed."""
        return (
            self.gain is not None
            and self.failed == 0
            and math.isfinite(self.gain.low)
            and self.gain.low > 0
        )


def check(runs: Mapping[int, Sequence[RunResult]], minimize: bool) -> list[Checked]:
    """The candidates, the first of which are the defaults.

    Intervals of gains have a level of 1 - 0.05 / candidates (Bonferroni), because the best of them is
    looked for.

    Args:
        runs: runs by label of the trial; the defaults first.
        minimize: whether a smaller value is better.

    """
    complete = {n: [r for r in found if r.state == "completed"] for n, found in runs.items()}
    values = {
        n: np.array([r.value for r in found if r.value is not None])
        for n, found in complete.items()
    }
    first = next(iter(values.values()), np.zeros(0))
    level = 1 - (1 - LEVEL) / max(len(values) - 1, 1)
    sign = -1.0 if minimize else 1.0
    return [
        Checked(
            number,
            found.tolist(),
            len(runs[number]) - len(complete[number]),
            iqm_of(found),
            None if i == 0 else gain(sign * found, sign * first, level),
        )
        for i, (number, found) in enumerate(values.items())
    ]


def gain(ours: np.ndarray, theirs: np.ndarray, level: float) -> Interval:
    """Difference of two IQMs with its percentile-bootstrap interval; NaN bounds: too few values.

    Args:
        ours: (n,) values of independent runs.
        theirs: (m,) values.
        level: of the interval.

    """
    if not len(ours) or not len(theirs):
        return Interval(math.nan, math.nan, math.nan)
    value = float(iqm(ours) - iqm(theirs))
    if min(len(ours), len(theirs)) < MIN_SEEDS:
        return Interval(value, math.nan, math.nan)
    rng = np.random.default_rng(0)
    a = iqm(rng.choice(ours, size=(REPEATS, len(ours))))
    b = iqm(rng.choice(theirs, size=(REPEATS, len(theirs))))
    low, high = np.quantile(a - b, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def winner(checked: Sequence[Checked]) -> Checked | None:
    """The best candidate that is better than the defaults; None: there is none."""
    better = [each for each in checked if each.is_better and each.gain is not None]
    return max(better, key=lambda each: each.gain.value if each.gain else -math.inf, default=None)
