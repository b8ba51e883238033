"""The two parts of a search: its trials, and the best of them again on fresh seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rl_cli.search import space
from rl_cli.search.plan import Plan
from rl_cli.search.pruning import BetweenSeeds, WithinRuns
from rl_cli.search.trials import RunResult, Trials, label, ranked

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

DEFAULTS = 0
"""Label of the trial with the defaults."""


def values_of(plan: Plan, trial: Trial | FrozenTrial) -> dict[str, Any]:
    """The keys that a trial sets; none for the trial with the defaults."""
    return {} if label(trial) == DEFAULTS else space.values_of(plan.space, trial.params)


class SearchPart:
    """Trials, each of one run per seed.

    Args:
        plan: of the search.
        study: of Optuna.

    """

    def __init__(self, plan: Plan, study: Study) -> None:
        self.plan, self.study = plan, study
        cfg = plan.cfg
        from rl_cli.search.sampler import distributions  # imports optuna

        self.trials = Trials(study, distributions(plan), cfg.trials, cfg.stale_after)
        self.between, self.within = BetweenSeeds(plan), WithinRuns(plan)

    def seeds(self, trial: int) -> list[int]:
        return self.plan.seeds

    def values(self, trial: Trial) -> Mapping[str, Any]:
        return values_of(self.plan, trial)

    def folder(self, trial: int, seed: int) -> str:
        return f"t{trial:04d}_s{seed}"

    def stops(self, trial: int, result: RunResult) -> str | None:
        if trial == DEFAULTS:  # what the others are compared with
            return None
        return self.within.verdict(self.trials.every(), trial, result)

    def add(self, trial: Trial, result: RunResult) -> str | None:
        self.between.report(trial, result)
        return None if label(trial) == DEFAULTS else self.between.verdict(self.study, trial)

    def finish(self, trial: Trial, runs: list[RunResult]) -> None:
        values = [statistics.fmean(run.value for run in runs if run.value is not None)]
        if self.plan.cfg.second == "seconds":
            values.append(statistics.fmean(run.seconds for run in runs))
        elif self.plan.cfg.second == "steps":
            values.append(statistics.fmean(run.steps or 0.0 for run in runs))
        self.trials.complete(trial, values)


class FreshPart:
    """One run of each candidate for each fresh seed; each is a trial of a study of its own.

    Args:
        plan: of the search.
        study: of Optuna.
        candidates: the defaults and the best trials.

    """

    def __init__(self, plan: Plan, study: Study, candidates: Sequence[FrozenTrial]) -> None:
        self.plan, self.candidates = plan, candidates
        limit = len(candidates) * plan.cfg.verify
        self.trials = Trials(study, {}, limit, plan.cfg.stale_after)

    def seeds(self, trial: int) -> list[int]:
        return [self.plan.cfg.fresh_seed + trial // len(self.candidates)]

    def candidate(self, trial: int) -> FrozenTrial:
        """Whose run a trial is, by the label of the trial."""
        return self.candidates[trial % len(self.candidates)]

    def values(self, trial: Trial) -> Mapping[str, Any]:
        return values_of(self.plan, self.candidate(label(trial)))

    def folder(self, trial: int, seed: int) -> str:
        return f"fresh_t{label(self.candidate(trial)):04d}_s{seed}"

    def stops(self, trial: int, result: RunResult) -> str | None:
        return None

    def add(self, trial: Trial, result: RunResult) -> str | None:
        return None

    def finish(self, trial: Trial, runs: list[RunResult]) -> None:
        self.trials.complete(trial, [run.value for run in runs if run.value is not None])


def candidates(plan: Plan, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The defaults, then the best other trials; of two objectives, those of the Pareto front.

    Args:
        plan: of the search.
        trials: all of the search, ended.

    """
    best = ranked(trials, plan.cfg.objective == "steps")
    if plan.cfg.second is not None:
        best = [trial for trial in best if is_on_front(plan, trial, best)]
    others = [trial for trial in best if label(trial) != DEFAULTS][: plan.cfg.top]
    return [trial for trial in trials if label(trial) == DEFAULTS] + others


def is_on_front(plan: Plan, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether no other trial is at least as good in both objectives and better in one."""
    mine = _costs(plan, trial)
    return not any(
        all(a <= b for a, b in zip(theirs, mine, strict=True)) and theirs != mine
        for theirs in (_costs(plan, other) for other in trials)
    )


def _costs(plan: Plan, trial: FrozenTrial) -> list[float]:
    signs = [1.0 if direction == "minimize" else -1.0 for direction in plan.directions]
    return [sign * value for sign, value in zip(signs, trial.values, strict=True)]
