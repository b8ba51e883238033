"""Learning curves of a group of runs, aligned on common steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from rl_cli.report.comparison import iqm_of
from rl_cli.report.run_data import RunData

BAND_REPEATS = 500
MAX_POINTS = 100
"""Steps of an aligned curve; more are not distinguishable on a screen."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """IQM over seeds at common steps.

    Attributes:
        steps: (G,) int64.
        value, low, high: (G,) IQM and its 95 % interval; NaN bounds: too few seeds.
        seeds: (G,) number of runs that reached the step.
        each: (R, G) return of each run; NaN before its first and after its last evaluation.

    """

    steps: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray
    each: np.ndarray


def align(runs: Sequence[RunData]) -> Curve:
    """The curve of a group.

    Evaluations taken at different steps are interpolated linearly between a run's own evaluations, and
    never extrapolated: a run that ended early leaves the curve where it ended, as `seeds` shows.
    """
    steps = _grid([run.steps for run in runs])
    each = np.full((len(runs), len(steps)), math.nan)
    for row, run in zip(each, runs, strict=True):
        if len(run.steps):
            row[:] = np.interp(steps, run.steps, run.returns, left=math.nan, right=math.nan)
    found = [iqm_of(column, repeats=BAND_REPEATS) for column in each.T]
    value, low, high = (
        (np.array(column) for column in zip(*found, strict=True)) if found else 3 * [np.zeros(0)]
    )
    return Curve(steps, value, low, high, np.isfinite(each).sum(0), each)


def _grid(steps: Sequence[np.ndarray]) -> np.ndarray:
    """All steps at which a run was evaluated; above MAX_POINTS of them, evenly chosen ones."""
    every: np.ndarray = np.unique(np.concatenate([*steps, np.zeros(0, np.int64)]))
    if len(every) <= MAX_POINTS:
        return every
    chosen = np.linspace(0, len(every) - 1, MAX_POINTS).round().astype(int)
    reduced: np.ndarray = every[chosen]
    return reduced
