"""Keys that every algorithm has, and what an algorithm's configuration says about itself."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

from pydantic import Field

from rl_cli.config.schema import Size, as_text, schema
from rl_cli.core.types import EnvSpec, Experience, Transition

UnusedKeys = list[tuple[bool, tuple[str, ...], tuple[str, ...]]]
"""Condition, keys that have no effect while it holds, keys that the condition depends on."""


class BufferMemory(NamedTuple):
    """Size and content of an algorithm's buffer, so that its memory is checked before torch is imported."""

    key: str  # configuration key that sets the size
    value: int  # its value
    rows: int  # rows of the buffer for each unit of the value
    row: type[Transition] | type[Experience]
    prioritized: bool = False  # each row has a priority
    is_sorted: bool = False  # rows are reordered by priority, which copies a column


EncoderKind = Literal["auto", "mlp", "nature_cnn", "impala", "minatar_cnn"]


class EncoderChoice(NamedTuple):
    """The encoder of the images of an observation, with its sizes; None: the encoder's own."""

    kind: EncoderKind = "auto"
    channels: tuple[int, ...] | None = None
    width: int | None = None


AUTO = EncoderChoice()


@schema
class AlgoConfig:
    """Keys that every algorithm has."""

    name: str = Field(description="algorithm, a file in rl_cli/algos/ or an entry point")
    gamma: float = Field(ge=0, le=1, description="discount factor")
    learning_rate: float = Field(gt=0, le=10, description="learning rate of Adam")
    anneal_learning_rate: bool = Field(description="decay the learning rate linearly to 0")
    adam_eps: float = Field(gt=0, lt=1, description="epsilon of Adam")
    max_grad_norm: float | None = Field(gt=0, description="clip the gradient norm; null: no clip")
    hidden_sizes: tuple[Size, ...] = Field(description="units of each hidden layer")
    activation: Literal["relu", "tanh"] = Field(description="activation of the hidden layers")

    def overrides(self, *names: str) -> str:
        """Keys with their values, as typed on the command line: `algo.gamma=0.99 ...`."""
        return " ".join(f"algo.{name}={as_text(getattr(self, name))}" for name in names)

    def to_replay(self) -> Self:
        """The same policy with the smallest buffer, for evaluation."""
        return self

    def buffer_memory(self, spec: EnvSpec) -> BufferMemory | None:
        """Size and content of the buffer for these envs; None: its size is not fixed in advance."""
        return None

    def unused_keys(self) -> UnusedKeys:
        """Keys that have no effect under certain values of other keys."""
        return []

    def without_effect(self) -> dict[str, str]:
        """Keys of `unused_keys` that have no effect now -> the overrides that cause it."""
        unused = [(keys, others) for holds, keys, others in self.unused_keys() if holds]
        return {f"algo.{key}": self.overrides(*others) for keys, others in unused for key in keys}

    @property
    def title(self) -> str:
        """Name for messages and titles: the algorithm's, or that of a known set of switches."""
        return self.name


@schema
class EncoderConfig(AlgoConfig):
    """Keys of algorithms whose networks encode images."""

    encoder: EncoderKind = Field(
        description="encoder of images: nature_cnn, impala, minatar_cnn (small images), or mlp "
        "(flattened); auto: nature_cnn from 36 pixels a side, else minatar_cnn"
    )
    encoder_channels: tuple[Size, ...] | None = Field(
        min_length=1,
        description="channels of the encoder's convolutions (impala: of its stages); null: those of "
        "the paper",
    )
    encoder_width: Size | None = Field(
        description="outputs of the encoder's fully connected layer; null: those of the paper"
    )

    @property
    def encoder_choice(self) -> EncoderChoice:
        """The encoder that these keys describe."""
        return EncoderChoice(self.encoder, self.encoder_channels, self.encoder_width)

    def unused_keys(self) -> UnusedKeys:
        return [(self.encoder == "mlp", ("encoder_channels", "encoder_width"), ("encoder",))]
