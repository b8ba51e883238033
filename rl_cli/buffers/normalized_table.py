"""A table of rows whose observations are normalized when they are sampled.

The statistics of observations change as long as a run lasts. A replay buffer keeps rows for a long time,
so it stores observations as the env returned them, and an update normalizes its batch with the
statistics of that moment. Otherwise one state would lie in the buffer as many different inputs.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch

from rl_cli.buffers.columns import Columns
from rl_cli.core.types import Batch, ExperienceBatch


class Statistics(Protocol):
    """Running statistics of observations; normalized is (obs - mean) / std, clipped to +-clip."""

    clip: float

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each value of an observation, (*obs_shape) float64 each, now."""
        ...


class NormalizedTransitions(NamedTuple):
    """Table of `Transition` rows with raw observations; see `Rows`."""

    mean: torch.Tensor  # (*obs_shape) float64
    std: torch.Tensor  # (*obs_shape) float64
    clip: torch.Tensor  # () float64
    obs: torch.Tensor  # (capacity, *obs_shape), raw
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor  # (capacity, *obs_shape), raw
    terminated: torch.Tensor
    truncated: torch.Tensor

    def gather(self, positions: torch.Tensor, device: torch.device) -> Batch:
        """Rows at positions (B,) as a batch, normalized."""
        return Batch(**_gather(self, positions, device))


class NormalizedExperiences(NamedTuple):
    """Table of `Experience` rows with raw observations; see `Rows`."""

    mean: torch.Tensor  # as in NormalizedTransitions
    std: torch.Tensor
    clip: torch.Tensor
    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    next_obs: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    discount: torch.Tensor
    next_action: torch.Tensor

    def gather(self, positions: torch.Tensor, device: torch.device) -> ExperienceBatch:
        """Rows at positions (B,) as a batch, normalized."""
        return ExperienceBatch(**_gather(self, positions, device))


def _gather(
    table: NormalizedTransitions | NormalizedExperiences,
    positions: torch.Tensor,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """The operations of `ObservationNormalizer`, in its order and in float64, so with its bits."""
    positions, rows = positions.to(table.obs.device), {}
    for name, column in zip(table._fields[3:], table[3:], strict=True):
        found = column.index_select(0, positions)
        if name in ("obs", "next_obs"):
            found = _normalized(table, found)
        rows[name] = found.to(device)
    return rows


def _normalized(
    table: NormalizedTransitions | NormalizedExperiences, obs: torch.Tensor
) -> torch.Tensor:
    """Raw observations (B, *obs_shape), normalized; of several parts, the vectors, which come first."""
    count = len(table.mean)
    if obs.dtype == torch.uint8 or obs[0].numel() > count:
        floats = obs.view(torch.float32) if obs.dtype == torch.uint8 else obs
        vectors = _scaled(table, floats[:, :count])
        return torch.cat([vectors, floats[:, count:]], 1).view(obs.dtype)
    return _scaled(table, obs)


def _scaled(
    table: NormalizedTransitions | NormalizedExperiences, obs: torch.Tensor
) -> torch.Tensor:
    scaled = (obs.double() - table.mean) / table.std
    return torch.minimum(torch.maximum(scaled, -table.clip), table.clip).float()


class NormalizedTable:
    """The rows of columns, and the current statistics of their observations.

    Args:
        columns: hold the raw rows.
        statistics: of the observations.

    """

    def __init__(self, columns: Columns, statistics: Statistics) -> None:
        self.statistics = statistics
        mean, std = statistics.mean_and_std()
        self.mean, self.std = mean.copy(), std.copy()
        clip = torch.tensor(statistics.clip, dtype=torch.float64)
        kind = NormalizedTransitions if len(columns.names) == 6 else NormalizedExperiences
        numbers = (torch.from_numpy(self.mean), torch.from_numpy(self.std), clip)
        self.rows = kind(*numbers, *columns.tensors)

    def refreshed(self) -> NormalizedTransitions | NormalizedExperiences:
        """The table, always the same one, with the statistics of this moment."""
        self.mean[...], self.std[...] = self.statistics.mean_and_std()
        return self.rows
