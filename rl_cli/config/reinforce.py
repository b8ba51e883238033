"""TODO."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl_cli.config.algorithm import AlgoConfig, Idle
from rl_cli.config.schema import Int, schema
from rl_cli.core.errors import BadInput


@schema
class ReinforceConfig(AlgoConfig):
    """Keys of `algo=reinforce`."""

    episodes_per_update: Int = Field(
        ge=1, description="whole episodes of one update, shared out evenly over the envs"
    )
    normalize_returns: bool = Field(
        description="weights (returns, or returns minus baseline) to mean 0 and std 1"
    )
    discount_weighting: bool = Field(
        description="step t of an episode counts gamma^t, as in the gradient of the discounted return"
    )
    sum_over_steps: bool = Field(
        description="an episode counts with the sum over its steps, as in the paper; "
        "false: the mean over all steps"
    )
    baseline: Literal["none", "mean", "value"] = Field(
        description="subtracted from returns: nothing, their running mean, or a learned value"
    )
    baseline_decay: float = Field(
        ge=0, lt=1, description="share of the past in baseline=mean at each update"
    )
    bootstrap_truncated: bool = Field(
        description="a time limit leaves the value of what it cut off; false: it counts as an end"
    )
    vf_coef: float = Field(ge=0, description="weight of the mean squared error of baseline=value")
    ent_coef: float = Field(ge=0, description="weight of the entropy bonus")
    log_std_init: float = Field(description="log std of continuous actions at first")

    def __post_init__(self) -> None:
        both_means = self.baseline == "mean" and self.normalize_returns
        if self.bootstrap_truncated and self.baseline != "value":
            also = " algo.normalize_returns=false" if both_means else ""
            raise BadInput(
                "without a value network nothing is known of what a time limit cuts off",
                self.told("baseline", "bootstrap_truncated"),
                f"algo.bootstrap_truncated=false{also}, or algo.baseline=value",
            )
        if both_means:
            raise BadInput(
                "normalising takes the mean off as well, whatever it is",
                self.told("baseline", "normalize_returns"),
                "algo.normalize_returns=false, or algo.baseline=none",
            )

    def idle(self) -> Idle:
        return [
            (self.baseline != "mean", ("baseline_decay",), ("baseline",)),
            (self.baseline != "value", ("vf_coef",), ("baseline",)),
        ]
