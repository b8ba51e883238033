"""Keys of `algo=dqn`, and which values contradict each other."""

from __future__ import annotations

import dataclasses
from typing import Literal, Self

from pydantic import Field

from rl_cli.config.algorithm import BufferMemory, EncoderConfig, UnusedKeys
from rl_cli.config.schema import Folder, Int, schema
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec, Experience, Transition

Contradiction = tuple[bool, str, tuple[str, ...], str]
"""Condition, message, keys that are involved, overrides that resolve it."""


@schema
class DQNConfig(EncoderConfig):
    """Deep Q-learning with experience replay and a target network."""

    buffer_size: Int = Field(ge=1, description="capacity of the replay buffer in transitions")
    prefill: Folder | None = Field(
        description="file of transitions (rl-play record=true) added to the buffer at the start; "
        "null: none"
    )
    batch_size: Int = Field(ge=1, description="transitions per update")
    learning_starts: Int = Field(
        ge=0, description="env steps with random actions before the first update"
    )
    train_every: Int = Field(ge=1, description="env steps between rounds of updates")
    gradient_steps: Int = Field(ge=1, description="updates per round")
    target_update_every: Int = Field(
        ge=0, description="env steps between target updates; 0: no target network"
    )
    tau: float = Field(
        gt=0, le=1, description="weight of the online network in a target update; 1: hard update"
    )
    average_decay: float | None = Field(
        gt=0,
        lt=1,
        description="evaluate and save weights averaged over updates, each with this decay; null: "
        "the last weights",
    )
    bootstrap: Literal["q_learning", "double", "sarsa", "expected_sarsa"] = Field(
        description="bootstrap action: argmax of the target network, argmax of the online network "
        "(double), the action taken (sarsa), or the expectation under the policy"
    )
    bootstrap_truncated: bool = Field(
        description="bootstrap at a time limit; false: a time limit counts as terminated"
    )
    n_step: Int = Field(ge=1, le=1_000, description="rewards summed before the bootstrap value")
    dueling: bool = Field(description="dueling network: separate value and advantage streams")
    layer_norm: bool = Field(
        description="layer normalization before the activation of each layer of hidden_sizes"
    )
    noisy: bool = Field(description="noisy layers: learned noise on the weights for exploration")
    distributional: Literal["none", "c51", "qr"] = Field(
        description="predict the mean return, a categorical distribution or quantiles"
    )
    num_atoms: Int = Field(ge=2, le=1_000, description="atoms of c51, quantiles of qr")
    v_min: float = Field(description="smallest return of the c51 support")
    v_max: float = Field(description="largest return of the c51 support")
    loss: Literal["huber", "mse"] = Field(
        description="loss of the TD error; distributional=qr uses the quantile Huber loss"
    )
    q_l1_coef: float = Field(ge=0, description="weight of an L1 penalty on Q(s, a)")
    max_grad_value: float | None = Field(
        gt=0, description="clip each entry of the gradient; null: no clip"
    )
    replay: Literal["uniform", "proportional", "softmax"] = Field(
        description="sampling: uniform, TD error to the power priority_alpha, or "
        "softmax(symlog(TD error))"
    )
    priority_alpha: float = Field(
        ge=0, le=1, description="exponent of priorities; 0: uniform, 1: proportional"
    )
    priority_beta: float = Field(
        ge=0, le=1, description="initial exponent of importance weights; annealed to 1"
    )
    sort_every: Int = Field(
        ge=0,
        description="transitions between sorts of the buffer, after which those of the lowest "
        "priority are overwritten first; 0: never",
    )
    epsilon_start: float = Field(ge=0, le=1, description="initial probability of a random action")
    epsilon_end: float = Field(ge=0, le=1, description="final probability of a random action")
    epsilon_steps: Int = Field(ge=1, description="env steps from the initial to the final epsilon")
    epsilon_decay: Literal["linear", "exponential"] = Field(description="shape of the decay")
    epsilon_factor: float | None = Field(
        gt=0,
        le=1,
        description="multiply epsilon by this after each episode, down to epsilon_end, in place "
        "of epsilon_steps; null: off",
    )

    def to_replay(self) -> Self:
        return dataclasses.replace(self, buffer_size=min(self.buffer_size, self.batch_size))

    def buffer_memory(self, spec: EnvSpec) -> BufferMemory:
        row = Experience if self.n_step > 1 or self.bootstrap == "sarsa" else Transition
        prioritized, is_sorted = self.replay != "uniform", self.sort_every > 0
        return BufferMemory("algo.buffer_size", self.buffer_size, 1, row, prioritized, is_sorted)

    def __post_init__(self) -> None:
        for holds, what, keys, fix in (
            *self._network_contradictions(),
            *self._exploration_contradictions(),
            *self._target_contradictions(),
            *self._distributional_contradictions(),
        ):
            if holds:
                raise BadInput(what, self.overrides(*keys), fix)

    def _network_contradictions(self) -> list[Contradiction]:
        return [
            (
                self.layer_norm and 1 in self.hidden_sizes,
                "the layer normalization of one unit is always 0",
                ("layer_norm", "hidden_sizes"),
                "algo.layer_norm=false, or wider layers: algo.hidden_sizes=[64,64]",
            ),
        ]

    def _exploration_contradictions(self) -> list[Contradiction]:
        ends = min(self.epsilon_start, self.epsilon_end)
        return [
            (
                self.epsilon_decay == "exponential" and self.epsilon_factor is None and ends == 0,
                "an exponential epsilon_decay needs both ends above 0",
                ("epsilon_decay", "epsilon_start", "epsilon_end"),
                "algo.epsilon_decay=linear",
            ),
            (
                self.batch_size > self.buffer_size,
                "batch_size is larger than buffer_size",
                ("batch_size", "buffer_size"),
                f"algo.buffer_size={self.batch_size}, or algo.batch_size={self.buffer_size}",
            ),
            (
                self.sort_every > 0 and self.replay == "uniform",
                "sort_every sorts by priority, and uniform replay has no priorities",
                ("sort_every", "replay"),
                "algo.replay=proportional, or algo.sort_every=0",
            ),
        ]

    def _target_contradictions(self) -> list[Contradiction]:
        no_target = self.target_update_every == 0
        return [
            (
                no_target and self.bootstrap == "double",
                "bootstrap=double needs a target network",
                ("bootstrap", "target_update_every"),
                "algo.target_update_every=500, or algo.bootstrap=q_learning",
            ),
            (
                no_target and self.tau < 1,
                "tau needs a target network",
                ("tau", "target_update_every"),
                "algo.target_update_every=1, or algo.tau=1",
            ),
        ]

    def _distributional_contradictions(self) -> list[Contradiction]:
        low, high = sorted((self.v_min, self.v_max))
        return [
            (
                self.distributional != "none" and self.loss == "mse",
                f"loss=mse does not apply to distributional={self.distributional}",
                ("distributional", "loss"),
                "algo.loss=huber, or algo.distributional=none",
            ),
            (
                self.distributional == "qr" and self.bootstrap == "expected_sarsa",
                "distributional=qr does not support bootstrap=expected_sarsa: the quantiles of a "
                "mixture are not the mixture of the quantiles",
                ("distributional", "bootstrap"),
                "algo.bootstrap=sarsa, or algo.distributional=c51",
            ),
            (
                self.distributional == "c51" and self.v_min >= self.v_max,
                "v_min of the c51 support is not below v_max",
                ("distributional", "v_min", "v_max"),
                f"algo.v_min={low:g} algo.v_max={high if high > low else low + 1:g}",
            ),
        ]

    def unused_keys(self) -> UnusedKeys:
        return [
            *super().unused_keys(),
            (self.replay != "proportional", ("priority_alpha", "priority_beta"), ("replay",)),
            (self.distributional == "none", ("num_atoms",), ("distributional",)),
            (self.distributional != "c51", ("v_min", "v_max"), ("distributional",)),
            (self.distributional == "c51", ("loss",), ("distributional",)),
            (self.target_update_every == 0, ("tau",), ("target_update_every",)),
            (not self.hidden_sizes, ("layer_norm",), ("hidden_sizes",)),
            (
                self.epsilon_factor is not None,
                ("epsilon_steps", "epsilon_decay"),
                ("epsilon_factor",),
            ),
            (
                self.epsilon_start == self.epsilon_end,
                ("epsilon_steps", "epsilon_decay", "epsilon_factor"),
                ("epsilon_start", "epsilon_end"),
            ),
        ]

    @property
    def title(self) -> str:
        """Rainbow if all six of its extensions are on (Hessel et al. 2018, arXiv:1710.02298)."""
        returns = self.bootstrap == "double" and self.distributional == "c51"
        rest = self.dueling and self.noisy and self.n_step > 1 and self.replay == "proportional"
        return "rainbow" if returns and rest else super().title
