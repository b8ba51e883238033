"""When a trial gets no further runs, and a run no further steps. The tests are Optuna's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rl_cli.search.plan import Plan
from rl_cli.search.trials import RunResult, label, results

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

REDUCTION = 3
"""Of asynchronous successive halving: the share 1/3 of the runs continues at each rung."""


class BetweenSeeds:
    """Ends a trial whose runs are worse than those of the best trial with the same seeds.

    Wilcoxon signed-rank test, one-sided; `optuna.pruners.WilcoxonPruner`.

    Args:
        plan: of the search.

    """

    def __init__(self, plan: Plan) -> None:
        self.cfg = plan.cfg
        self.is_on = plan.cfg.prune_seeds and plan.cfg.second is None

    def report(self, trial: Trial, result: RunResult) -> None:
        """A run has ended; its seed is the step of the report."""
        if self.cfg.second is None and result.value is not None:
            trial.report(result.value, result.seed)

    def verdict(self, study: Study, trial: Trial) -> str | None:
        """Why the trial should end now; None: it continues."""
        import optuna

        if not self.is_on:
            return None
        pruner = optuna.pruners.WilcoxonPruner(p_threshold=self.cfg.prune_p)
        frozen = study._storage.get_trial(trial._trial_id)
        if not pruner.prune(study, frozen):
            return None
        seeds = len(frozen.intermediate_values)
        return f"worse than trial {label(study.best_trial)} on {seeds} seeds"


class WithinRuns:
    """Ends a run whose evaluations are worse than those of other runs of its seed at the same step.

    For each seed, a study in memory has the runs of that seed as its trials.

    Args:
        plan: of the search.

    """

    def __init__(self, plan: Plan) -> None:
        self.kind = "none" if plan.cfg.second is not None else plan.cfg.prune
        self.first_step = max(1, int(plan.cfg.prune_after * plan.budget))
        self.studies: dict[int, Study] = {}
        self.runs: dict[tuple[int, int], Trial] = {}  # trial and seed -> the trial in memory
        self.points: dict[tuple[int, int], int] = {}  # how many evaluations it has
        self.over: set[tuple[int, int]] = set()

    def verdict(self, trials: list[FrozenTrial], trial: int, current: RunResult) -> str | None:
        """Why a run should end now; None: it continues.

        Args:
            trials: of the search.
            trial: the label of the trial that the run belongs to.
            current: the run so far.

        """
        if self.kind == "none":
            return None
        for other in trials:
            for result in results(other).values():
                if result.seed == current.seed and label(other) != trial:
                    self._add(label(other), result)
        if not self._add(trial, current):
            return None
        step, value = current.curve[-1]
        return f"{self.kind}: return {value:g} at step {step:,}"

    def _add(self, trial: int, result: RunResult) -> bool:
        """Bring a run up to date. -> whether Optuna would end it at its last evaluation."""
        key = trial, result.seed
        if key in self.over:
            return False
        study = self._study(result.seed)
        if key not in self.runs:
            self.runs[key], self.points[key] = study.ask(), 0
        run, ends = self.runs[key], False
        for step, value in result.curve[self.points[key] :]:
            run.report(value, step)
            ends = run.should_prune()
        self.points[key] = len(result.curve)
        if result.state != "running":
            self.over.add(key)
            _tell(study, run, result)
        return ends

    def _study(self, seed: int) -> Study:
        import optuna

        if seed not in self.studies:
            pruner: Any
            if self.kind == "median":
                pruner = optuna.pruners.MedianPruner(n_warmup_steps=self.first_step)
            else:
                pruner = optuna.pruners.SuccessiveHalvingPruner(
                    min_resource=self.first_step, reduction_factor=REDUCTION
                )
            self.studies[seed] = optuna.create_study(direction="maximize", pruner=pruner)
        return self.studies[seed]


def _tell(study: Study, run: Trial, result: RunResult) -> None:
    from optuna.trial import TrialState

    if result.state == "completed" and result.curve:
        study.tell(run, result.curve[-1][1])
    else:
        study.tell(run, state=TrialState.PRUNED)
