"""What a search samples. Imports optuna; imported where a search runs."""

from __future__ import annotations

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from rl_cli.core.seeding import stream
from rl_cli.search.plan import Plan
from rl_cli.search.space import INTEGER, LOGARITHMIC, Dimension
from rl_cli.search.trials import index


def distributions(plan: Plan) -> dict[str, BaseDistribution]:
    """The space in Optuna's terms."""
    return {key: _distribution(each) for key, each in plan.space.items()}


def _distribution(each: Dimension) -> BaseDistribution:
    low, high = each.low, each.high
    if each.kind == "categorical":
        return CategoricalDistribution([each.parameter(choice) for choice in each.choices])
    if each.kind in INTEGER:
        return IntDistribution(int(low), int(high), log=each.kind in LOGARITHMIC)
    if each.kind == "logit":
        low, high = (float(each.parameter(value)) for value in (low, high))
    return FloatDistribution(low, high, log=each.kind in LOGARITHMIC)


class Seeded(BaseSampler):
    """Trial 0 has the defaults; trial n is sampled with a seed derived from the search's seed and n.

    So a search that is continued does not propose its first trials again, and a search with one run at a time
    proposes the same trials again, also if it was stopped on the way.

    Args:
        plan: of the search.

    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.space = plan, distributions(plan)
        self.first = {key: plan.space[key].parameter(v) for key, v in plan.defaults.items()}
        self.number, self.inner = 0, self._inner(0)

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """All keys are sampled together; with two objectives, TPE samples each by itself."""
        if self._index(study, trial) > 0 and len(study.directions) > 1:
            return {}
        return self.space

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        if self._index(study, trial) == 0:
            return dict(self.first)
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return self._of(study, trial).sample_independent(study, trial, name, distribution)

    def _index(self, study: Any, trial: Any) -> int:
        return index(study.get_trials(deepcopy=False), trial.number)

    def _of(self, study: Any, trial: Any) -> BaseSampler:
        if (number := self._index(study, trial)) != self.number:
            self.number, self.inner = number, self._inner(number)
        return self.inner

    def _inner(self, number: int) -> BaseSampler:
        seed = int(stream(self.plan.seed, f"search/{number}").integers(2**31))
        if self.plan.cfg.sampler == "random":
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, n_startup_trials=self.plan.cfg.startup_trials)
