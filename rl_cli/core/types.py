"""Types that the packages exchange.

Shapes: T rollout length, N envs, B batch size, A actions (or action dimensions), P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

import numpy as np

if TYPE_CHECKING:
    import torch

Params = dict[str, "torch.Tensor"]  # name -> tensor, e.g. "actor.0.weight"

Details = dict[str, "torch.Tensor"]  # metrics of a loss: name -> () or (B,), detached

Metrics = dict[str, "torch.Tensor | np.ndarray"]  # name -> (K,), of K updates

Arrays = dict[str, np.ndarray]  # name -> NumPy array, as Params

State = dict[str, object]  # nested: arrays, tensors, Blocks, numbers, strings, lists, dicts

Waiting = Callable[[str], AbstractContextManager[None]]  # entered with what training waits for

EnvStep = tuple[Any, Any, bool, bool, dict[str, Any]]  # what gymnasium's `step` answers


class ActionSpec(NamedTuple):
    """Kind and shape of an action.

    discrete: sizes = (A,), one integer. multidiscrete: sizes = (A_1, ..., A_k), k integers.
    box: real-valued action of this shape, with flattened bounds.
    """

    kind: Literal["discrete", "multidiscrete", "box"]
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def dtype(self) -> type[np.generic]:
        return np.float32 if self.kind == "box" else np.int64

    def contains(self, actions: np.ndarray) -> bool:
        """Whether each of (T, *shape) actions is one that exists; of a box, every number is."""
        rows = actions.reshape(-1, len(self.sizes)) if self.sizes else actions
        return not self.sizes or bool(((rows >= 0) & (rows < self.sizes)).all())


class ObsPart(NamedTuple):
    """A part of an observation: an image (C, H, W) or a vector (D,).

    The network maps the values of an image from [low, high] to [0, 1].
    """

    name: str  # empty: the part is the whole observation
    shape: tuple[int, ...]
    dtype: Literal["float32", "uint8"]
    low: float = 0.0
    high: float = 1.0

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3


class EnvSpec(NamedTuple):
    """Observations (N, *obs_shape) and actions of N = num_envs envs.

    An observation of several parts is one array: `core.obs_layout` says how they lie in it.
    """

    obs_shape: tuple[int, ...]
    obs_dtype: Literal["float32", "uint8"]
    action: ActionSpec
    num_envs: int
    frame_channels: int = 0  # of each of the stacked frames of pixels; 0: vectors, or not known
    parts: tuple[ObsPart, ...] = ()  # empty: one image with values to 255, or one vector

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        """The parts of an observation, at least one."""
        if self.parts:
            return self.parts
        high = 255.0 if self.obs_dtype == "uint8" else 1.0
        return (ObsPart("", self.obs_shape, self.obs_dtype, 0.0, high),)

    @property
    def has_images(self) -> bool:
        return any(part.is_image for part in self.obs_parts)


class Transition(NamedTuple):
    """One step of N envs. The next step reuses the arrays: keep copies, not references.

    `next_obs` is the observation that the action led to, also at the end of an episode, never that of
    the reset. `terminated`: the state is terminal. `truncated`: a time limit cut the episode.
    """

    obs: np.ndarray  # (N, *obs_shape)
    action: np.ndarray  # (N, *action_shape)
    reward: np.ndarray  # (N,) float32
    next_obs: np.ndarray  # (N, *obs_shape)
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool


class Experience(NamedTuple):
    """A `Transition` over up to n steps: `obs` and `action` of the first, `next_obs` of the last.

    `reward` is the discounted sum of rewards. The flags are those of the last step. `next_action` is
    the action after the last step, or -1 if the episode ended there.
    """

    obs: np.ndarray  # (N, *obs_shape)
    action: np.ndarray  # (N,) int64
    reward: np.ndarray  # (N,) float32
    next_obs: np.ndarray  # (N, *obs_shape)
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool
    discount: np.ndarray  # (N,) float32, gamma to the number of steps
    next_action: np.ndarray  # (N,) int64


class Batch(NamedTuple):
    """A batch of transitions as tensors; fields as in `Transition`, flags as 0.0 or 1.0."""

    obs: torch.Tensor  # (B, *obs_shape)
    action: torch.Tensor  # (B, *action_shape)
    reward: torch.Tensor  # (B,)
    next_obs: torch.Tensor  # (B, *obs_shape)
    terminated: torch.Tensor  # (B,)
    truncated: torch.Tensor  # (B,)


class ExperienceBatch(NamedTuple):
    """A batch of `Experience` rows as tensors, flags as 0.0 or 1.0."""

    obs: torch.Tensor  # (B, *obs_shape)
    action: torch.Tensor  # (B,)
    reward: torch.Tensor  # (B,)
    next_obs: torch.Tensor  # (B, *obs_shape)
    terminated: torch.Tensor  # (B,)
    truncated: torch.Tensor  # (B,)
    discount: torch.Tensor  # (B,)
    next_action: torch.Tensor  # (B,)


class Table(Protocol):
    """A table of rows that are gathered in its own way, such as pooled frames."""

    def gather(self, positions: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Rows at positions (B,) as a batch on `device`."""
        ...


class Rows(NamedTuple):
    """K batches of rows of a table, which the learner gathers.

    `table` is a NamedTuple of columns (capacity, ...), or a NamedTuple of tensors with a method
    `gather(positions, device)` that returns the batch of rows at positions (B,).
    """

    table: tuple[torch.Tensor, ...]
    positions: torch.Tensor  # (K, B) int64

    def gather(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """The rows of all K batches, one after the other, as a NamedTuple of (K * B, ...)."""
        positions = self.positions.flatten()
        if hasattr(self.table, "gather"):
            return cast(Table, self.table).gather(positions, device)
        positions = positions.to(self.table[0].device)
        columns = (column.index_select(0, positions).to(device) for column in self.table)
        return type(self.table)(*columns)


class Episode(NamedTuple):
    """A finished episode: sum of raw rewards, number of steps, and values of `info`."""

    episode_return: float
    length: int
    success: bool | None = None  # None: the env does not say
    info: Mapping[str, float] = MappingProxyType({})  # values of env.log_info


class Recording(NamedTuple):
    """A finished episode and what its replay needs."""

    episode: Episode
    start_state: State  # see envs/episode_replay.py, `reset_to`
    actions: np.ndarray  # (T, *action_shape); empty if they were too many to be kept
