"""search.json: the results of a search, for its page and for programs. It is read without Optuna."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rl_cli.search.parts import is_on_front, values_of
from rl_cli.search.plan import Plan
from rl_cli.search.trials import ENDED, label, ranked, results
from rl_cli.search.verify import Checked
from rl_cli.storage.atomic_files import write_json

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

NAME = "search.json"

FORMAT = 1

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
"""Optuna's states -> ours; others are running."""


def describe(
    plan: Plan,
    study: Study,
    trials: Sequence[FrozenTrial],
    checked: Sequence[Checked] = (),
    winner: int | None = None,
    preset: str = "",
) -> dict[str, Any]:
    """The record of a search.

    Args:
        plan: of the search.
        study: of Optuna.
        trials: the requested number.
        checked: the candidates on fresh seeds.
        winner: label of the trial that is better than the defaults; None: none is.
        preset: the file that was written; empty: none.

    """
    complete = ranked(trials, plan.cfg.objective == "steps")
    front = {label(t) for t in complete if plan.cfg.second and is_on_front(plan, t, complete)}
    return _plan(plan) | {
        "updated": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "trials": [_trial(plan, trial, label(trial) in front) for trial in trials],
        "best": label(complete[0]) if complete else None,
        "importances": importances(study),
        "checked": [_checked(each) for each in checked],
        "winner": winner,
        "preset": preset,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "study": plan.name,
        "algo": plan.labels.algo,
        "env": plan.labels.env,
        "objective": plan.cfg.objective,
        "second": plan.cfg.second,
        "directions": plan.directions,
        "budget": plan.budget,
        "seeds": plan.seeds,
        "fresh_seeds": plan.fresh,
        "space": {key: dataclasses.asdict(each) for key, each in plan.space.items()},
        "defaults": dict(plan.defaults),
    }


def _trial(plan: Plan, trial: FrozenTrial, on_front: bool) -> dict[str, Any]:
    runs = results(trial)
    return {
        "trial": label(trial),
        "state": STATES.get(trial.state.name, "running"),
        "values": list(trial.values or []) if trial.state.name == "COMPLETE" else [],
        "keys": dict(plan.defaults) | values_of(plan, trial),
        "reason": str(trial.user_attrs.get(ENDED, "")),
        "front": on_front,
        "runs": [
            {
                "seed": run.seed,
                "state": run.state,
                "value": run.value,
                "seconds": run.seconds,
                "folder": run.folder,
                "step": run.curve[-1][0] if run.curve else 0,
            }
            for _, run in sorted(runs.items())
        ],
    }


def _checked(each: Checked) -> dict[str, Any]:
    found = dataclasses.asdict(each)
    return found | {"iqm": list(each.iqm), "gain": None if each.gain is None else list(each.gain)}


def importances(study: Study) -> dict[str, float]:
    """Share of each key in what distinguishes the best trials (PED-ANOVA); empty: too few trials.

    Watanabe, Bansal, Hutter 2023 (arXiv:2304.10255).
    """
    import optuna

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(complete) < 4:
        return {}
    try:
        found = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: trial.values[0],
        )
    except (ValueError, RuntimeError):  # all values are equal
        return {}
    return {key: float(share) for key, share in found.items() if math.isfinite(share)}


def write(plan: Plan, content: dict[str, Any]) -> None:
    """Write search.json. Raises StorageError."""
    write_json(plan.folder / NAME, content)
