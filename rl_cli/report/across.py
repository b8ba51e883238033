"""Methods compared over several envs: scaled returns, performance profiles, sample efficiency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rl_cli.report import comparison
from rl_cli.report.summary import Row

TAU = np.linspace(0, 1, 101)
"""Thresholds of a performance profile."""

POINTS = 41
"""Of a curve of sample efficiency."""

CURVE_REPEATS = 500

Scale = Mapping[str, tuple[float, float]]


def describe(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Methods that ran on every env, with the IQM, the profile and the curve of their scaled returns.

    Returns:
        Plain values for the page; None: fewer than two envs, or no method ran on all of them.

    """
    envs = list(dict.fromkeys(row.group.env for row in rows))
    methods = list(dict.fromkeys(row.group.method for row in rows))
    complete = [m for m in methods if _envs_of(m, rows) == len(envs)]
    if len(envs) < 2 or not complete:
        return None
    of_env = {env: [row for row in rows if row.group.env == env] for env in envs}
    scale = {env: _range(found) for env, found in of_env.items()}
    steps = _steps(rows)
    by_method = {m: [row for row in rows if row.group.method == m] for m in complete}
    first = by_method[complete[0]]
    return {
        "envs": envs,
        "missing": [m for m in methods if m not in complete],
        "tau": TAU,
        "steps": steps,
        "methods": [
            _method(m, found, None if m == complete[0] else first, scale, steps)
            for m, found in by_method.items()
        ],
    }


def _envs_of(method: str, rows: Sequence[Row]) -> int:
    return len({row.group.env for row in rows if row.group.method == method and row.count})


def _range(rows: Sequence[Row]) -> tuple[float, float]:
    """Lowest and highest mean return of an evaluation."""
    every = np.concatenate([run.returns for row in rows for run in row.group.runs])
    return float(every.min()), float(every.max())


def _steps(rows: Sequence[Row]) -> np.ndarray:
    """From the first to the last evaluation of any run, at equal ratios."""
    every = [run.steps for row in rows for run in row.group.runs if len(run.steps)]
    first, last = (float(fn([fn(steps) for steps in every])) for fn in (min, max))
    return np.geomspace(max(first, 1.0), max(last, 1.0), POINTS)


def _scaled(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    low, high = bounds
    return (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 1.0)


def _method(
    name: str,
    rows: Sequence[Row],
    first: Sequence[Row] | None,
    scale: Scale,
    steps: np.ndarray,
) -> dict[str, Any]:
    strata = [_scaled(comparison.finite(row.finals), scale[row.group.env]) for row in rows]
    profile, low, high = comparison.stratified_profile(strata, TAU)
    return {
        "method": name,
        "runs": sum(map(len, strata)),
        "iqm": comparison.stratified_iqm(strata),
        "improvement": None if first is None else comparison.mean_improvement(_pairs(rows, first)),
        "profile": {"y": profile, "low": low, "high": high},
        "efficiency": _efficiency(rows, scale, steps),
    }


def _pairs(rows: Sequence[Row], first: Sequence[Row]) -> list[tuple[np.ndarray, np.ndarray]]:
    against = {row.group.env: row.finals for row in first}
    return [(row.finals, against[row.group.env]) for row in rows]


def _efficiency(rows: Sequence[Row], scale: Scale, steps: np.ndarray) -> dict[str, Any]:
    """IQM of the scaled returns that were reached with so many steps, (k,); NaN: an env has no value.

    A completed run counts with its last return after its end: more steps than its budget were allowed.
    """
    each = []
    for row in rows:
        values = [
            np.interp(
                *(steps, run.steps, run.returns),
                left=math.nan,
                right=run.final,  # NaN: it did not complete
            )
            for run in row.group.runs
            if len(run.steps)
        ]
        found = np.array(values).reshape(-1, len(steps))
        each.append(_scaled(found, scale[row.group.env]))
    points = []
    for k in range(len(steps)):
        strata = [comparison.finite(found[:, k]) for found in each]
        known = all(len(values) for values in strata)
        points.append(
            comparison.stratified_iqm(strata, CURVE_REPEATS) if known else comparison.NOTHING
        )
    value, low, high = np.array(points).T
    return {"y": value, "low": low, "high": high}
