"""The words the rooms speak to each other.

Legend of shapes: T rollout length, N envs, B batch, A actions (or action dimensions), P parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

Params = dict[str, "torch.Tensor"]  # name -> tensor, e.g. "actor.0.weight"

Details = dict[str, "torch.Tensor"]  # what a loss tells beside itself: name -> () or (B,), detached

Metrics = dict[str, "torch.Tensor | np.ndarray"]  # name -> (K,), of K updates; for the logger

Arrays = dict[str, np.ndarray]  # the same as Params, for numpy

State = dict[str, object]  # nested: arrays, tensors, Blocks, numbers, strings, lists, dicts

LIFE = 2  # an env's `terminated`: what is learned from ends here, the episode goes on

EnvStep = tuple[Any, Any, bool, bool, dict[str, Any]]  # what gymnasium's `step` answers


class ActionSpec(NamedTuple):
    """What an action looks like.

    discrete: sizes = (A,), one integer. multidiscrete: sizes = (A_1, ..., A_k), k integers.
    box: shape of the real-valued action, with its bounds flattened.
    """

    kind: Literal["discrete", "multidiscrete", "box"]
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def dtype(self) -> type[np.generic]:
        return np.float32 if self.kind == "box" else np.int64


class EnvSpec(NamedTuple):
    """What an algorithm is told of its envs: observations (N, *obs_shape), actions, how many."""

    obs_shape: tuple[int, ...]
    obs_dtype: Literal["float32", "uint8"]
    action: ActionSpec
    num_envs: int


class Transition(NamedTuple):
    """One step of N envs. The arrays are reused by the next step: keep copies, not references.

    `next_obs` is the observation the action led to, also at an episode's end, never the one after
    the reset. `terminated`: the episode ended by itself, nothing follows. `truncated`: it was cut
    off, the return goes on beyond it.
    """

    obs: np.ndarray  # (N, *obs_shape)
    action: np.ndarray  # (N, *action_shape)
    reward: np.ndarray  # (N,) float32
    next_obs: np.ndarray  # (N, *obs_shape)
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool


class Experience(NamedTuple):
    """A `Transition` over up to n steps: from obs and action on, to where the last of them led.

    `reward` is their discounted sum. The flags are those of the last step. `next_action` is what
    was done after it; -1 where nothing was, because the episode ended there.
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
    """Transitions to learn from, as tensors; rows as in `Transition`, flags as 0.0 or 1.0."""

    obs: torch.Tensor  # (B, *obs_shape)
    action: torch.Tensor  # (B, *action_shape)
    reward: torch.Tensor  # (B,)
    next_obs: torch.Tensor  # (B, *obs_shape)
    terminated: torch.Tensor  # (B,)
    truncated: torch.Tensor  # (B,)


class ExperienceBatch(NamedTuple):
    """`Experience` to learn from, as `Batch`."""

    obs: torch.Tensor  # (B, *obs_shape)
    action: torch.Tensor  # (B,)
    reward: torch.Tensor  # (B,)
    next_obs: torch.Tensor  # (B, *obs_shape)
    terminated: torch.Tensor  # (B,)
    truncated: torch.Tensor  # (B,)
    discount: torch.Tensor  # (B,)
    next_action: torch.Tensor  # (B,)


class Rows(NamedTuple):
    """K batches of a table's rows, to be gathered by whoever learns from them."""

    table: tuple[torch.Tensor, ...]  # a NamedTuple of columns (capacity, ...)
    positions: torch.Tensor  # (K, B) int64

    def gather(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """The rows themselves, one batch after the other, in a tuple of the table's type."""
        positions = self.positions.flatten().to(self.table[0].device)
        columns = (column.index_select(0, positions).to(device) for column in self.table)
        return type(self.table)(*columns)


class Episode(NamedTuple):
    """A finished episode: sum of raw rewards, and steps."""

    episode_return: float
    length: int


class Recording(NamedTuple):
    """A finished episode with all that playing it again takes."""

    episode: Episode
    begun: State  # the seed of its reset, or where the env's stream stood before it
    actions: list[np.ndarray]  # each (*action_shape)
