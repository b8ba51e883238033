"""The switches of `algo=ppo`, and which of them contradict each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl_cli.config.algorithm import AlgoConfig, Idle
from rl_cli.config.schema import Int, schema
from rl_cli.core.errors import BadInput

Std = Literal["learned", "fixed", "state_dependent", "gsde"]

LOG_STD_RANGE = (-20.0, 2.0)
"""Of a log std that a network gives: Haarnoja et al. 2018's, which keeps its exponential in hand."""


@schema
class ActorCriticConfig(AlgoConfig):
    """Keys of a policy and a value that are trained together."""

    vf_learning_rate: float | None = Field(
        gt=0, le=10, description="step size of the critic's own layers; null: learning_rate"
    )
    shared_network: bool = Field(
        description="one network for policy and value, with two last layers; "
        "false: one each (from pixels: behind the same convolutions)"
    )
    std: Std = Field(
        description="of continuous actions: a parameter, log_std_init for ever, "
        "an output of the policy, or generalised state-dependent exploration"
    )
    log_std_init: float = Field(description="log std of continuous actions at first")
    sde_sample_every: Int | None = Field(
        ge=1, description="steps that std=gsde holds its noise; null: until the next update"
    )
    squash_actions: bool = Field(
        description="continuous actions are tanh of a normal; false: clipped to their bounds"
    )

    def __post_init__(self) -> None:
        if self.shared_network and self.vf_learning_rate is not None:
            raise BadInput(
                "a shared network has one step size",
                self.told("shared_network", "vf_learning_rate"),
                "algo.vf_learning_rate=null, or algo.shared_network=false",
            )
        if self.shared_network and not self.hidden_sizes:
            raise BadInput(
                "there is no hidden layer to share",
                self.told("shared_network", "hidden_sizes"),
                "algo.shared_network=false, or algo.hidden_sizes=[64,64]",
            )
        low, high = LOG_STD_RANGE
        if self.std == "state_dependent" and not low <= self.log_std_init <= high:
            raise BadInput(
                f"a log std that a network gives is kept in [{low:g}, {high:g}]",
                self.told("std", "log_std_init"),
                f"algo.log_std_init={min(max(self.log_std_init, low), high):g}",
            )


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
    vf_coef: float = Field(
        ge=0, description="weight of the value loss, which is the mean squared error"
    )
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
