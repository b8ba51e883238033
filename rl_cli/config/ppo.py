"""Keys of `algo=ppo`, and which values contradict each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl_cli.config.algorithm import BufferMemory, EncoderConfig, UnusedKeys
from rl_cli.config.schema import Int, schema
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec, Transition

Std = Literal["learned", "fixed", "annealed", "state_dependent", "gsde"]

LOG_STD_RANGE = (-20.0, 2.0)
"""Bounds of a log std that a network predicts, as in Haarnoja et al. 2018 (arXiv:1801.01290)."""


@schema
class ActorCriticConfig(EncoderConfig):
    """Keys of a policy and a value function that are trained together."""

    vf_learning_rate: float | None = Field(
        gt=0, le=10, description="learning rate of the value network; null: learning_rate"
    )
    shared_network: bool = Field(
        description="one network with two output layers for policy and value; "
        "false: separate networks (for pixels: on shared convolutions)"
    )
    std: Std = Field(
        description="std of continuous actions: a learned parameter, fixed at log_std_init, annealed from "
        "it to log_std_final, an output of the policy network, or gSDE (generalized state-dependent "
        "exploration)"
    )
    log_std_init: float = Field(ge=-20, le=20, description="initial log std of continuous actions")
    log_std_final: float = Field(
        ge=-20,
        le=20,
        description="log std of std=annealed at the end of the budget; its decay is linear",
    )
    sde_sample_every: Int | None = Field(
        ge=1, description="steps between noise samples of std=gsde; null: once per update"
    )
    squash_actions: bool = Field(
        description="continuous actions are the tanh of a normal sample; false: clipped to bounds"
    )

    def __post_init__(self) -> None:
        if self.shared_network and self.vf_learning_rate is not None:
            raise BadInput(
                "a shared network has one learning rate",
                self.overrides("shared_network", "vf_learning_rate"),
                "algo.vf_learning_rate=null, or algo.shared_network=false",
            )
        if self.shared_network and not self.hidden_sizes:
            raise BadInput(
                "shared_network needs at least one hidden layer",
                self.overrides("shared_network", "hidden_sizes"),
                "algo.shared_network=false, or algo.hidden_sizes=[64,64]",
            )
        low, high = LOG_STD_RANGE
        if self.std == "state_dependent" and not low <= self.log_std_init <= high:
            raise BadInput(
                f"std=state_dependent clips the log std to [{low:g}, {high:g}]",
                self.overrides("std", "log_std_init"),
                f"algo.log_std_init={min(max(self.log_std_init, low), high):g}",
            )


@schema
class PPOConfig(ActorCriticConfig):
    """Proximal policy optimization with a clipped objective."""

    rollout_length: Int | None = Field(
        ge=1, description="steps of each env between updates; null: use rollout_episodes"
    )
    rollout_episodes: Int | None = Field(
        ge=1,
        description="complete episodes between updates, the same number from each env; "
        "null: use rollout_length",
    )
    num_epochs: Int = Field(ge=1, description="passes over a rollout")
    minibatch_size: Int = Field(ge=2, description="transitions per gradient step")
    advantage: Literal["gae", "monte_carlo"] = Field(
        description="advantage estimate: GAE, or the Monte-Carlo return minus the value"
    )
    gae_lambda: float = Field(ge=0, le=1, description="lambda of advantage=gae")
    bootstrap_truncated: bool = Field(
        description="bootstrap at a time limit; false: a time limit counts as terminated"
    )
    recompute_advantage: bool = Field(
        description="recompute advantages in each epoch with the current values"
    )
    normalize_advantage: Literal["minibatch", "rollout", "none"] = Field(
        description="scale advantages to mean 0 and std 1 per minibatch or per rollout"
    )
    clip_coef: float = Field(gt=0, description="clip range of the probability ratio")
    anneal_clip_coef: bool = Field(description="decay clip_coef linearly to 0")
    clip_value_loss: bool = Field(description="clip the change of the value by clip_coef, too")
    ent_coef: float = Field(ge=0, description="weight of the entropy bonus")
    anneal_ent_coef: bool = Field(description="decay ent_coef linearly to 0")
    vf_coef: float = Field(ge=0, description="weight of the value loss, a mean squared error")
    target_kl: float | None = Field(
        gt=0, description="stop the epochs of an update above this KL divergence; null: never"
    )

    def buffer_memory(self, spec: EnvSpec) -> BufferMemory | None:
        if self.rollout_length is None:
            return None
        return BufferMemory("algo.rollout_length", self.rollout_length, spec.num_envs, Transition)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.rollout_length is None) == (self.rollout_episodes is None):
            both = self.rollout_length is not None
            raise BadInput(
                "set one of rollout_length and rollout_episodes, the other is null",
                self.overrides("rollout_length", "rollout_episodes"),
                f"algo.rollout_{'length=null' if both else 'length=256'}, or "
                f"algo.rollout_{'episodes=null' if both else 'episodes=8'}",
            )

    def unused_keys(self) -> UnusedKeys:
        return [
            *super().unused_keys(),
            (self.advantage != "gae", ("gae_lambda",), ("advantage",)),
            (self.std != "gsde", ("sde_sample_every",), ("std",)),
            (self.std != "annealed", ("log_std_final",), ("std",)),
            (self.ent_coef == 0, ("anneal_ent_coef",), ("ent_coef",)),
            (
                self.std in ("fixed", "annealed") and not self.squash_actions,
                ("ent_coef", "anneal_ent_coef"),  # the entropy does not depend on the policy
                ("std",),
            ),
            (self.num_epochs == 1, ("recompute_advantage",), ("num_epochs",)),
        ]
