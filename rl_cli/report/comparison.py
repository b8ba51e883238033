"""Statistics that compare groups of runs.

Agarwal et al. 2021 (arXiv:2108.13264): stratified bootstrap, probability of improvement, performance
profiles. A value of NaN is a run without a result; it is left out, and the caller counts it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from rl_cli.tracking.statistics import iqm

MIN_SEEDS = 5
"""Runs from which on an interval is given. The percentile bootstrap of fewer is far too narrow."""
REPEATS = 2_000
PROFILE_REPEATS = 500
SEED = 0
BLOCK = 1 << 22
"""Values drawn at a time, to bound memory: 32 MiB."""


class Interval(NamedTuple):
    """An estimate and its 95 % percentile-bootstrap interval; NaN bounds: too few values."""

    value: float
    low: float
    high: float


NOTHING = Interval(math.nan, math.nan, math.nan)


def iqm_of(values: np.ndarray, repeats: int = REPEATS) -> Interval:
    """Interquartile mean of (n,) values with its interval."""
    return stratified_iqm([values], repeats)


def stratified_iqm(strata: Sequence[np.ndarray], repeats: int = REPEATS) -> Interval:
    """IQM of all values, resampled within each stratum (an env).

    Args:
        strata: one array of values per env, (n_i,); NaN values are left out.
        repeats: of the bootstrap, which is deterministic.

    """
    known = [v for v in (finite(values) for values in strata) if len(v)]
    if not known:
        return NOTHING
    value = float(iqm(np.concatenate(known)))
    if min(len(v) for v in known) < MIN_SEEDS:
        return Interval(value, math.nan, math.nan)
    rng = np.random.default_rng(SEED)
    total = sum(len(v) for v in known)
    found: list[np.ndarray] = []
    for count in _blocks(total, repeats):
        draws = np.concatenate([rng.choice(v, size=(count, len(v))) for v in known], axis=1)
        found.append(iqm(draws))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return Interval(value, float(low), float(high))


def improvement(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """Probability that a run of `ours` is better than one of `theirs`; a tie counts one half.

    Args:
        ours: (n,) results; NaN values are left out.
        theirs: (m,) results, likewise.

    """
    return mean_improvement([(ours, theirs)])


def mean_improvement(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Interval:
    """`improvement` averaged over envs, resampled within each env. An env without results is left out.

    Args:
        pairs: per env, the results of both methods.

    """
    known = [(finite(x), finite(y)) for x, y in pairs]
    known = [(x, y) for x, y in known if len(x) and len(y)]
    if not known:
        return NOTHING
    value = float(np.mean([_pairs(x[None], y[None])[0] for x, y in known]))
    if min(min(len(x), len(y)) for x, y in known) < MIN_SEEDS:
        return Interval(value, math.nan, math.nan)
    rng = np.random.default_rng(SEED)
    total = np.zeros(REPEATS)
    for x, y in known:
        found = [
            _pairs(rng.choice(x, size=(count, len(x))), rng.choice(y, size=(count, len(y))))
            for count in _blocks(len(x) + len(y), REPEATS)
        ]
        total += np.concatenate(found)
    low, high = np.quantile(total / len(known), [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """P(X > Y) + P(X = Y) / 2 of each row, from ranks: (r, n) and (r, m) -> (r,)."""
    result = np.empty(len(x))
    for i, (a, b) in enumerate(zip(x, np.sort(y, axis=1), strict=True)):
        below = np.searchsorted(b, a, side="left")
        upto = np.searchsorted(b, a, side="right")
        result[i] = (below + upto).mean() / (2 * len(b))
    return result


def _blocks(width: int, repeats: int) -> list[int]:
    """`repeats` split so that a block of rows of `width` values stays below BLOCK values."""
    size = max(1, min(repeats, BLOCK // width))
    return [min(size, repeats - start) for start in range(0, repeats, size)]


class Threshold(NamedTuple):
    """When runs reached a threshold.

    Attributes:
        reached: runs that did.
        runs: all runs.
        median: Kaplan-Meier median; inf: fewer than half of the runs reached it.

    """

    reached: int
    runs: int
    median: float


def time_to(events: Sequence[tuple[float, bool]]) -> Threshold:
    """Kaplan-Meier median of the time to an event.

    Kaplan and Meier 1958 (doi:10.1080/01621459.1958.10501452). A run that ended without the event
    counts as at risk until its end (right-censored).

    Args:
        events: per run, the time and whether the event happened; False: the run ended then.

    """
    half = Fraction(1, 2)
    median = next((time for time, left in _survival(events) if left <= half), math.inf)
    return Threshold(sum(happened for _, happened in events), len(events), median)


def share_reached(events: Sequence[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    """Share of runs that have reached an event by each time: 1 - the Kaplan-Meier estimate.

    Args:
        events: as for `time_to`.

    Returns:
        (k,) times of events, increasing, and the share from each of them on.

    """
    found = list(_survival(events))
    shares = [float(1 - survival) for _, survival in found]
    return np.array([time for time, _ in found]), np.array(shares)


def _survival(events: Sequence[tuple[float, bool]]) -> Iterator[tuple[float, Fraction]]:
    """Times of events, increasing, and the Kaplan-Meier estimate from each on; exact, so that half is half."""
    survival = Fraction(1)
    for time in sorted({t for t, happened in events if happened}):
        at_risk = sum(t >= time for t, _ in events)
        happening = sum(happened and t == time for t, happened in events)
        survival *= Fraction(at_risk - happening, at_risk)
        yield time, survival


def profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Performance profile: share of (n,) scores above each of (k,) thresholds."""
    return stratified_profile([scores], thresholds)[0]


def stratified_profile(
    strata: Sequence[np.ndarray], thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Performance profile of several envs, each of which counts the same, and its 95 % interval.

    Args:
        strata: one array of scores per env; NaN values are left out, and envs without scores.
        thresholds: (k,), increasing.

    Returns:
        (k,) shares, and the lower and upper bounds; NaN: no scores, or too few for an interval.

    """
    known = [np.sort(v) for v in (finite(values) for values in strata) if len(v)]
    nothing = np.full(len(thresholds), math.nan)
    if not known:
        return nothing, nothing, nothing
    shares: np.ndarray = np.mean([_above(v, thresholds) for v in known], axis=0)
    if min(len(v) for v in known) < MIN_SEEDS:
        return shares, nothing, nothing
    rng = np.random.default_rng(SEED)
    draws = np.zeros((PROFILE_REPEATS, len(thresholds)))
    for values in known:
        drawn = np.sort(rng.choice(values, size=(PROFILE_REPEATS, len(values))), axis=1)
        draws += np.array([_above(row, thresholds) for row in drawn]) / len(known)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return shares, low, high


def _above(ordered: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    above: np.ndarray = 1 - np.searchsorted(ordered, thresholds, side="right") / len(ordered)
    return above


def seeds_needed(ours: np.ndarray, theirs: np.ndarray) -> int | None:
    """Seeds per group that show the observed difference of means with a power of 80 % at a level of 5 %.

    Normal approximation: n = 2 (1.96 + 0.84)^2 s^2 / d^2, with the pooled variance s^2. None: the
    difference or the number of seeds does not allow an estimate.
    """
    x, y = finite(ours), finite(theirs)
    if min(len(x), len(y)) < 2:
        return None
    difference = abs(float(x.mean() - y.mean()))
    variance = (float(x.var(ddof=1)) + float(y.var(ddof=1))) / 2
    if difference == 0:
        return None
    needed = 2 * (1.96 + 0.84) ** 2 * variance / difference**2
    return max(2, math.ceil(needed)) if needed < 1e6 else None


def finite(values: np.ndarray) -> np.ndarray:
    """The finite ones of the values."""
    known: np.ndarray = values[np.isfinite(values)]
    return known
