"""Methods compared over several envs: scaled returns and performance profiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rl_cli.report import comparison
from rl_cli.report.summary import Row

TAU = np.linspace(0, 1, 101)


def describe(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Methods that ran on every env, with the IQM and the profile of their scaled returns.

    Returns:
        Plain values for the page; None: fewer than two envs, or no method ran on all of them.

    """
    envs = list(dict.fromkeys(row.group.env for row in rows))
    methods = [
        m for m in dict.fromkeys(row.group.method for row in rows) if _envs_of(m, rows) == len(envs)
    ]
    if len(envs) < 2 or not methods:
        return None
    scale = {env: _range([row for row in rows if row.group.env == env]) for env in envs}
    return {
        "envs": envs,
        "note": "Returns are scaled per env: 0 is the lowest and 1 the highest final return of a run in "
        "this report. Intervals: bootstrap stratified by env.",
        "tau": TAU,
        "methods": [
            _method(m, [row for row in rows if row.group.method == m], scale) for m in methods
        ],
    }


def _envs_of(method: str, rows: Sequence[Row]) -> int:
    return len({row.group.env for row in rows if row.group.method == method and row.count})


def _range(rows: Sequence[Row]) -> tuple[float, float]:
    every = comparison.finite(np.concatenate([row.finals for row in rows]))
    return float(every.min()), float(every.max())


def _method(
    name: str, rows: Sequence[Row], scale: dict[str, tuple[float, float]]
) -> dict[str, Any]:
    strata = []
    for row in rows:
        low, high = scale[row.group.env]
        known = comparison.finite(row.finals)
        strata.append((known - low) / (high - low) if high > low else np.ones(len(known)))
    every = np.concatenate(strata)
    return {
        "method": name,
        "runs": len(every),
        "iqm": comparison.stratified_iqm(strata),
        "profile": comparison.profile(every, TAU),
    }
