"""TODO."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from rl_cli.config.schema import (
    Size,
    schema,
    written,
)

Idle = list[tuple[bool, tuple[str, ...], tuple[str, ...]]]
"""Whether it is so, the keys that then do nothing, and the keys that make it so."""


@schema
class AlgoConfig:
    """Keys that every algorithm has."""

    name: str = Field(description="the algorithm's file under rl_cli/algos/")
    gamma: float = Field(ge=0, le=1, description="discount factor")
    learning_rate: float = Field(gt=0, le=10, description="step size of Adam")
    anneal_learning_rate: bool = Field(description="decay the step size linearly to 0")
    adam_eps: float = Field(gt=0, lt=1, description="epsilon of Adam")
    max_grad_norm: float | None = Field(gt=0, description="gradient norm is clipped to this")
    hidden_sizes: tuple[Size, ...] = Field(description="units of each hidden layer")
    activation: Literal["relu", "tanh"] = Field(description="of the hidden layers")

    def told(self, *names: str) -> str:
        """Some keys with their values, as they would be typed."""
        return " ".join(f"algo.{name}={written(getattr(self, name))}" for name in names)

    def to_replay(self) -> Self:
        """The same policy, with as little memory for learning as there can be."""
        return self

    def idle(self) -> Idle:
        """Keys that do nothing while others are as they are; whoever types one is told."""
        return []

    def without_effect(self) -> dict[str, str]:
        """Keys of `idle` that now do nothing -> those others, with their values."""
        idle = [(keys, others) for is_so, keys, others in self.idle() if is_so]
        return {f"algo.{key}": self.told(*others) for keys, others in idle for key in keys}

    @property
    def title(self) -> str:
        """What a person would call it: the name, or that of a known set of switches."""
        return self.name
