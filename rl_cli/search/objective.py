"""The objective of a run: one number from its evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rl_cli.report.run_data import RunData, read_run
from rl_cli.search.plan import Plan
from rl_cli.search.trials import Point, RunResult

PENALTY = 2
"""A run that never reached the threshold counts as having needed this many budgets (PAR2, the penalized
average of algorithm configuration)."""


def curve_of(run: RunData) -> list[Point]:
    """The evaluations of a run."""
    return [(int(s), float(r)) for s, r in zip(run.steps, run.returns, strict=True)]


def steps_to(curve: Sequence[Point], threshold: float, budget: int) -> float:
    """Env steps of the first evaluation that reached a threshold; PENALTY budgets if none did."""
    return next(
        (float(step) for step, value in curve if value >= threshold), PENALTY * float(budget)
    )


def area(curve: Sequence[Point], budget: int) -> float:
    """Mean return over the budget: trapezoids between evaluations, constant before and after them."""
    steps = np.array([0, *(step for step, _ in curve), max(budget, curve[-1][0])], np.float64)
    returns = np.array([curve[0][1], *(value for _, value in curve), curve[-1][1]])
    return float(np.trapezoid(returns, steps) / steps[-1])


def objective(curve: Sequence[Point], kind: str, threshold: float | None, budget: int) -> float:
    """The objective of a complete run.

    Args:
        curve: its evaluations, at least one.
        kind: `SearchConfig.objective`.
        threshold: of the return; needed for "steps".
        budget: env steps of a run.

    """
    if kind == "steps":
        assert threshold is not None
        return steps_to(curve, threshold, budget)
    if kind == "auc":
        return area(curve, budget)
    return curve[-1][1] if kind == "final" else max(value for _, value in curve)


def judge(folder: Path, shown: str, seed: int, plan: Plan, state: str, reason: str) -> RunResult:
    """The result of a run, from its folder.

    Args:
        folder: of the run.
        shown: its path in the record.
        seed: of the run.
        plan: of the search.
        state: of the run, see `RunResult`.
        reason: why it ended.

    Raises:
        BadInput: the folder cannot be read.

    """
    run = read_run(folder)
    curve = curve_of(run)
    budget, kind = plan.budget, plan.cfg.objective
    value = steps = None
    if (curve and state == "completed") or (curve and kind in ("final", "best")):
        value = objective(curve, kind, plan.threshold, budget)
    if curve and plan.threshold is not None:
        steps = steps_to(curve, plan.threshold, budget)
    return RunResult(seed, state, shown, curve, value, steps, run.seconds or 0.0, reason)
