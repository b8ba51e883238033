"""Keys of rl-search besides those of a run. Their values are in conf/search.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from rl_cli.config.schema import Int, schema

_NAME = r"^\w[\w.\-]{0,99}$"


def _not_empty(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    return value


Name = Annotated[str, Field(pattern=_NAME)]
Text = Annotated[str, AfterValidator(_not_empty)]


@schema
class SearchConfig:
    """Keys of rl-search."""

    space: Name | None = Field(
        description="keys to search, with their ranges: conf/space/<name>.yaml; null: the file of the "
        "algorithm"
    )
    trials: Int = Field(
        ge=1, le=100_000, description="number of configurations; the first has the defaults"
    )
    seeds: Int = Field(
        ge=1, le=1_000, description="runs of each trial, with the seeds seed, seed + 1, ..."
    )
    objective: Literal["final", "best", "auc", "steps"] = Field(
        description="value of a run: its final or best evaluation, the mean evaluation over the "
        "budget (area under the curve), or the env steps to the threshold"
    )
    threshold: float | None = Field(
        description="return that objective=steps counts to; null: env.success_at, or the env's own"
    )
    second: Literal["seconds", "steps"] | None = Field(
        description="a second objective to minimize, training seconds or steps to the threshold: the "
        "result is a Pareto front, and no trial is pruned"
    )
    sampler: Literal["tpe", "random"] = Field(
        description="how configurations are chosen: tpe: Optuna's TPE; random: at random"
    )
    startup_trials: Int = Field(
        ge=1, description="random trials before the sampler learns from them"
    )
    prune: Literal["none", "median", "asha"] = Field(
        description="end a run early if its evaluations are below the median of the runs of its seed, "
        "or outside of the best third at each rung (asynchronous successive halving)"
    )
    prune_after: float = Field(
        ge=0, le=1, description="part of the budget after which a run may be ended early"
    )
    prune_seeds: bool = Field(
        description="end a trial between two seeds if it is worse than the best one (Wilcoxon test, "
        "paired by seed)"
    )
    prune_p: float = Field(
        gt=0,
        le=1,
        description="p-value of that test below which a trial ends; 4 seeds: at least 1/16",
    )
    study: Name | None = Field(
        description="name of the study; null: <algo>_<env>. A command with the same name continues "
        "the study"
    )
    storage: Text | None = Field(
        description="where the study is: a URL of SQLite or PostgreSQL; null: a journal file, "
        "runs/searches/<study>/study.log"
    )
    stale_after: float = Field(
        ge=2,
        description="seconds without a heartbeat after which a process on another machine "
        "counts as killed",
    )
    top: Int = Field(ge=1, le=100, description="best trials that run again on fresh seeds")
    verify: Int = Field(
        ge=0,
        le=1_000,
        description="number of fresh seeds for each of them and for the defaults; 0: none",
    )
    fresh_seed: Int = Field(ge=0, lt=2**31, description="the first fresh seed")
    preset: Name | None = Field(
        description="name of the preset that is written if the winner is better than the defaults; "
        "null: <algo>_<env>, with _found if a preset of that name is shipped"
    )
