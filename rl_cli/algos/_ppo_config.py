"""The switches of `algo=ppo`, and which of them contradict each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl_cli.actor_critic import ActorCriticConfig
from rl_cli.config import Idle, Int, schema
from rl_cli.errors import BadInput


@schema
class PPOConfig(ActorCriticConfig):
    """Keys of `algo=ppo`."""

    rollout_length: Int | None = Field(
        ge=1, description="steps of each env between updates; null: see rollout_episodes"
    )
    rollout_episodes: Int | None = Field(
        ge=1,
        description="whole episodes between updates, shared out evenly over the envs; "
        "null: see rollout_length",
    )
    num_epochs: Int = Field(ge=1, description="passes over a rollout")
    minibatch_size: Int = Field(ge=2, description="transitions of one gradient step")
    advantage: Literal["gae", "monte_carlo"] = Field(
        description="estimate of the advantage: gae, or the return that followed minus the value"
    )
    gae_lambda: float = Field(ge=0, le=1, description="lambda of advantage=gae")
    bootstrap_truncated: bool = Field(
        description="a time limit leaves the value of what it cut off; false: it counts as an end"
    )
    recompute_advantage: bool = Field(description="anew in each epoch, with the values of then")
    normalize_advantage: Literal["minibatch", "rollout", "none"] = Field(
        description="to mean 0 and std 1, in each minibatch or over the rollout"
    )
    clip_coef: float = Field(gt=0, description="bound on the change of the action's probability")
    anneal_clip_coef: bool = Field(description="decay clip_coef linearly to 0")
    clip_value_loss: bool = Field(description="bound the change of the value by clip_coef too")
    ent_coef: float = Field(ge=0, description="weight of the entropy bonus")
    anneal_ent_coef: bool = Field(description="decay ent_coef linearly to 0")
    vf_coef: float = Field(ge=0, description="weight of the value loss")
    target_kl: float | None = Field(gt=0, description="end the epochs beyond this KL; null: never")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.rollout_length is None) == (self.rollout_episodes is None):
            both = self.rollout_length is not None
            raise BadInput(
                "a rollout has a length in steps or in episodes, one of the two",
                self.told("rollout_length", "rollout_episodes"),
                f"algo.rollout_{'length=null' if both else 'length=256'}, or "
                f"algo.rollout_{'episodes=null' if both else 'episodes=8'}",
            )
        if self.std == "fixed" and self.ent_coef > 0 and not self.squash_actions:
            raise BadInput(
                "a fixed std has a fixed entropy, no bonus moves it",
                self.told("std", "ent_coef"),
                "algo.ent_coef=0, or algo.std=learned",
            )

    def idle(self) -> Idle:
        return [
            (self.advantage != "gae", ("gae_lambda",), ("advantage",)),
            (self.std != "gsde", ("sde_sample_every",), ("std",)),
            (self.ent_coef == 0, ("anneal_ent_coef",), ("ent_coef",)),
            (self.num_epochs == 1, ("recompute_advantage",), ("num_epochs",)),
        ]
