"""The table of docs/learning.md, from the results of benchmarks/learning.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from learning_cases import CASES, Case

from rl_cli.report.comparison import Interval, iqm_of

Results = Sequence[Mapping[str, Any]]

HEAD = (
    "| case | steps | bar | best checkpoint: IQM [95 % interval] | lowest seed | last checkpoint: IQM "
    "[95 % interval] | lowest seed | solved | seconds | verdict |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def table(known: Mapping[str, Results]) -> str:
    """A row per case of `known`; the cases without results follow in one line."""
    rows = [row(CASES[name], known[name]) for name in CASES if name in known]
    missing = [f"`{name}`" for name in CASES if name not in known]
    ending = [f"\nNot measured: {', '.join(missing)}."] if len(known) > 1 and missing else []
    return "\n".join([HEAD, *rows, *ending])


def row(case: Case, results: Results) -> str:
    best, last = returns(results, "best"), returns(results, "latest")
    scope = " on each seed" if case.each_seed else ""
    bar = "" if case.bar is None else f"{number(case.bar)}{scope} ({case.source})"
    seconds = float(np.median([each["seconds"] for each in results]))
    cells = [
        f"`{' '.join(case.words)}`", f"{results[0]['steps']:,}", bar,
        shown(iqm_of(best)), number(float(best.min())),
        shown(iqm_of(last)), number(float(last.min())),
        solved(results), f"{seconds:.0f}", verdict(case, results),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def returns(results: Results, which: str) -> np.ndarray:
    """(S,) mean returns of a checkpoint, by seed."""
    return np.array([each[which] for each in results], dtype=np.float64)


def verdict(case: Case, results: Results) -> str:
    """Whether the best and the last checkpoint reach the bar, by the lower ends of their intervals or each seed."""
    best, last = (reached(case, returns(results, which)) for which in ("best", "latest"))
    if case.bar is None:
        return "no bar"
    return "**over**" if best and last else "best over, last below" if best else "below"


def reached(case: Case, values: np.ndarray) -> bool:
    """Whether the lower end of the interval is at least the bar; without an interval, the IQM; or the lowest seed."""
    found = iqm_of(values)
    low = found.value if math.isnan(found.low) else found.low
    if case.each_seed:
        low = values.min()
    return case.bar is not None and low >= case.bar - 1e-9


def solved(results: Results) -> str:
    """Seeds whose best checkpoint reaches the env's threshold on average."""
    threshold = results[0]["success_at"]
    if threshold is None:
        return ""
    return f"{int((returns(results, 'best') >= threshold).sum())} of {len(results)}"


def shown(found: Interval) -> str:
    if math.isnan(found.low):
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.1f}"
