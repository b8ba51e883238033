"""The switches of `algo=dqn`, and which of them contradict each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rl_cli.config import AlgoConfig, Folder, Int, schema


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

    def __post_init__(self) -> None:
        for is_so, why in self._contradictions():
            if is_so:
                raise ValueError(why)

    def _contradictions(self) -> list[tuple[bool, str]]:
        ends = min(self.epsilon_start, self.epsilon_end)
        no_target, batch, size = self.target_update_every == 0, self.batch_size, self.buffer_size
        return [
            (
                self.epsilon_decay == "exponential" and self.epsilon_factor is None and ends == 0,
                "an exponential epsilon_decay needs both ends above 0",
            ),
            (
                batch > size,
                f"algo.batch_size={batch} is more than algo.buffer_size={size} holds",
            ),
            (
                no_target and self.bootstrap == "double",
                "algo.bootstrap=double needs two networks: set algo.target_update_every",
            ),
            (
                no_target and self.tau < 1,
                "algo.tau moves a target network: set algo.target_update_every",
            ),
            (
                self.distributional != "none" and self.loss == "mse",
                f"algo.distributional={self.distributional} has a loss of its own, not algo.loss=mse",
            ),
            (
                self.distributional == "qr" and self.bootstrap == "expected_sarsa",
                "quantiles of a mixture are not a mixture of quantiles: algo.distributional=qr "
                "goes with one next action, not with algo.bootstrap=expected_sarsa",
            ),
            (
                self.distributional == "c51" and self.v_min >= self.v_max,
                f"algo.v_min={self.v_min:g} is not below algo.v_max={self.v_max:g}",
            ),
            (
                self.sort_every > 0 and self.replay == "uniform",
                "algo.sort_every sorts by priority, which algo.replay=uniform has not",
            ),
        ]
