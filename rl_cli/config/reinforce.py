"""Keys of `algo=reinforce`, and which values contradict each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl_cli.config.algorithm import EncoderConfig, UnusedKeys
from rl_cli.config.schema import Int, schema
from rl_cli.core.errors import BadInput


@schema
class ReinforceConfig(EncoderConfig):
    """Monte-Carlo policy gradient with reward-to-go."""

    episodes_per_update: Int = Field(
        ge=1, description="complete episodes per update, the same number from each env"
    )
    normalize_returns: bool = Field(
        description="scale returns (minus the baseline) to mean 0 and std 1"
    )
    discount_weighting: bool = Field(
        description="weight step t of an episode by gamma^t, as in the gradient of the discounted "
        "return"
    )
    sum_over_steps: bool = Field(
        description="sum the loss over the steps of an episode, as in the paper; "
        "false: mean over all steps"
    )
    baseline: Literal["none", "mean", "value"] = Field(
        description="subtracted from returns: nothing, their running mean, or a learned value"
    )
    baseline_decay: float = Field(
        ge=0, lt=1, description="decay of the running mean of baseline=mean per update"
    )
    bootstrap_truncated: bool = Field(
        description="bootstrap at a time limit; false: a time limit counts as terminated"
    )
    vf_coef: float = Field(ge=0, description="weight of the mean squared error of baseline=value")
    ent_coef: float = Field(ge=0, description="weight of the entropy bonus")
    log_std_init: float = Field(ge=-20, le=20, description="initial log std of continuous actions")

    def __post_init__(self) -> None:
        both_means = self.baseline == "mean" and self.normalize_returns
        if self.bootstrap_truncated and self.baseline != "value":
            also = " algo.normalize_returns=false" if both_means else ""
            raise BadInput(
                "bootstrap_truncated=true needs a value network (baseline=value)",
                self.overrides("baseline", "bootstrap_truncated"),
                f"algo.bootstrap_truncated=false{also}, or algo.baseline=value",
            )
        if both_means:
            raise BadInput(
                "normalize_returns subtracts the mean, so baseline=mean has no effect",
                self.overrides("baseline", "normalize_returns"),
                "algo.normalize_returns=false, or algo.baseline=none",
            )

    def unused_keys(self) -> UnusedKeys:
        return [
            *super().unused_keys(),
            (self.baseline != "mean", ("baseline_decay",), ("baseline",)),
            (self.baseline != "value", ("vf_coef",), ("baseline",)),
        ]
