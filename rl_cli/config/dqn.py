"""The switches of `algo=dqn`, and which of them contradict each other."""

from __future__ import annotations

import dataclasses
from typing import Literal, Self

from pydantic import Field

from rl_cli.config.algorithm import AlgoConfig, Idle
from rl_cli.config.schema import Folder, Int, schema
from rl_cli.core.errors import BadInput


@schema
class DQNConfig(AlgoConfig):
    """Keys of `algo=dqn`."""

    buffer_size: Int = Field(ge=1, description="transitions the replay buffer holds")
    prefill: Folder | None = Field(
        description="file of transitions (rl-play record=true) that the buffer begins with; null: none"
    )
    batch_size: Int = Field(ge=1, description="transitions of one update")
    learning_starts: Int = Field(ge=0, description="env steps of random actions before learning")
    train_every: Int = Field(ge=1, description="env steps between rounds of updates")
    gradient_steps: Int = Field(ge=1, description="updates of one round")
    target_update_every: Int = Field(
        ge=0, description="env steps between target updates; 0: no target network"
    )
    tau: float = Field(gt=0, le=1, description="share of a target update; 1: hard copy")
    bootstrap: Literal["q_learning", "double", "sarsa", "expected_sarsa"] = Field(
        description="next action: the target's best, the online net's best, the one taken, or all"
    )
    bootstrap_truncated: bool = Field(description="false: a time limit counts as the end")
    n_step: Int = Field(ge=1, le=1_000, description="rewards of a target before it bootstraps")
    dueling: bool = Field(description="two streams: value of the state, advantages of actions")
    noisy: bool = Field(description="noise of learned size on the weights explores")
    distributional: Literal["none", "c51", "qr"] = Field(
        description="learn the return's mean, its probabilities or its quantiles"
    )
    num_atoms: Int = Field(ge=2, le=1_000, description="probabilities of c51, quantiles of qr")
    v_min: float = Field(description="least return that c51 knows")
    v_max: float = Field(description="largest return that c51 knows")
    loss: Literal["huber", "mse"] = Field(description="of the TD error; of quantiles (huber)")
    q_l1_coef: float = Field(ge=0, description="weight of a penalty on the size of Q(s, a)")
    max_grad_value: float | None = Field(gt=0, description="gradient's entries are clipped to this")
    replay: Literal["uniform", "proportional", "softmax"] = Field(
        description="draw all alike, by TD error to priority_alpha, or by softmax(symlog(TD error))"
    )
    priority_alpha: float = Field(ge=0, le=1, description="0: uniform, 1: in proportion")
    priority_beta: float = Field(ge=0, le=1, description="importance weights at first; 1 at last")
    sort_every: Int = Field(
        ge=0, description="transitions between sortings: the least surprising go first; 0: never"
    )
    epsilon_start: float = Field(ge=0, le=1, description="share of random actions at first")
    epsilon_end: float = Field(ge=0, le=1, description="share of random actions at last")
    epsilon_steps: Int = Field(ge=1, description="env steps from the first to the last")
    epsilon_decay: Literal["linear", "exponential"] = Field(description="way between them")
    epsilon_factor: float | None = Field(
        gt=0, le=1, description="instead: epsilon times this after each episode, down to the last"
    )

    def to_replay(self) -> Self:
        return dataclasses.replace(self, buffer_size=min(self.buffer_size, self.batch_size))

    def __post_init__(self) -> None:
        for is_so, what, keys, fix in self._contradictions():
            if is_so:
                raise BadInput(what, self.told(*keys), fix)

    def _contradictions(self) -> list[tuple[bool, str, tuple[str, ...], str]]:
        """Whether it is one, what is wrong, with which keys, and what to write instead."""
        ends = min(self.epsilon_start, self.epsilon_end)
        no_target, batch, size = self.target_update_every == 0, self.batch_size, self.buffer_size
        low, high = sorted((self.v_min, self.v_max))
        return [
            (
                self.epsilon_decay == "exponential" and self.epsilon_factor is None and ends == 0,
                "an exponential epsilon_decay needs both ends above 0",
                ("epsilon_decay", "epsilon_start", "epsilon_end"),
                "algo.epsilon_decay=linear",
            ),
            (
                batch > size,
                "a batch is more than the buffer holds",
                ("batch_size", "buffer_size"),
                f"algo.buffer_size={batch}, or algo.batch_size={size}",
            ),
            (
                no_target and self.bootstrap == "double",
                "double Q-learning needs two networks, and there is no target network",
                ("bootstrap", "target_update_every"),
                "algo.target_update_every=500, or algo.bootstrap=q_learning",
            ),
            (
                no_target and self.tau < 1,
                "tau moves a target network, and there is none",
                ("tau", "target_update_every"),
                "algo.target_update_every=1, or algo.tau=1",
            ),
            (
                self.distributional != "none" and self.loss == "mse",
                f"distributional={self.distributional} has a loss of its own",
                ("distributional", "loss"),
                "algo.loss=huber, or algo.distributional=none",
            ),
            (
                self.distributional == "qr" and self.bootstrap == "expected_sarsa",
                "quantiles of a mixture of actions are not a mixture of their quantiles",
                ("distributional", "bootstrap"),
                "algo.bootstrap=sarsa, or algo.distributional=c51",
            ),
            (
                self.distributional == "c51" and self.v_min >= self.v_max,
                "the least return that c51 knows is not below the largest",
                ("distributional", "v_min", "v_max"),
                f"algo.v_min={low:g} algo.v_max={high if high > low else low + 1:g}",
            ),
            (
                self.sort_every > 0 and self.replay == "uniform",
                "sort_every sorts by priority, and there are no priorities",
                ("sort_every", "replay"),
                "algo.replay=proportional, or algo.sort_every=0",
            ),
        ]

    def idle(self) -> Idle:
        return [
            (self.replay != "proportional", ("priority_alpha", "priority_beta"), ("replay",)),
            (self.distributional == "none", ("num_atoms",), ("distributional",)),
            (self.distributional != "c51", ("v_min", "v_max"), ("distributional",)),
            (self.distributional == "c51", ("loss",), ("distributional",)),
            (self.target_update_every == 0, ("tau",), ("target_update_every",)),
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
        """Rainbow is what has all of its six parts (Hessel et al. 2018)."""
        values = self.bootstrap == "double" and self.distributional == "c51"
        rest = self.dueling and self.noisy and self.n_step > 1 and self.replay == "proportional"
        return "rainbow" if values and rest else super().title
