"""Summaries with intervals, and a loss that explodes. numpy only."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import NamedTuple

import numpy as np

from rl_cli.types import Episode

BOOTSTRAP_REPEATS = 10_000


class Summary(NamedTuple):
    """Of a set of returns. `iqm_low`, `iqm_high`: 95 % percentile-bootstrap interval of the IQM."""

    episodes: int
    mean: float
    std: float
    median: float
    iqm: float
    iqm_low: float
    iqm_high: float
    min: float
    max: float
    mean_length: float
    success_rate: float | None
    success_at: float | None


def iqm(values: np.ndarray) -> np.ndarray:
    """Interquartile mean along the last axis: the mean of the middle half of the values.

    Agarwal et al. 2021 (arXiv:2108.13264). A quarter of n that is not whole is cut fractionally,
    so that 5 values weigh 0, 0.75, 1, 0.75, 0.
    """
    n = values.shape[-1]
    edges = np.arange(n + 1)
    inside = np.clip(edges, n / 4, 3 * n / 4)
    weight = np.diff(inside)
    result: np.ndarray = (np.sort(values, axis=-1) * weight).sum(-1) / weight.sum()
    return result


def iqm_interval(values: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile-bootstrap interval of the IQM of (n,) values; the same each time for a seed."""
    rng = np.random.default_rng(seed)
    draws = rng.choice(values, size=(BOOTSTRAP_REPEATS, len(values)))
    low, high = np.quantile(iqm(draws), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summarise(episodes: list[Episode], success_at: float | None = None) -> Summary:
    """Summary of finished episodes; success: a return of at least `success_at`."""
    returns = np.array([e.episode_return for e in episodes])
    low, high = iqm_interval(returns)
    return Summary(
        episodes=len(episodes),
        mean=float(returns.mean()),
        std=float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
        median=float(np.median(returns)),
        iqm=float(iqm(returns)),
        iqm_low=low,
        iqm_high=high,
        min=float(returns.min()),
        max=float(returns.max()),
        mean_length=float(np.mean([e.length for e in episodes])),
        success_rate=None if success_at is None else float((returns >= success_at).mean()),
        success_at=success_at,
    )


class Divergence:
    """Notices a loss that is still a number but no longer what it was. Said once."""

    FACTOR = 10_000
    ENOUGH = 10  # rows before there is a usual size to compare with

    def __init__(self) -> None:
        self.sizes: deque[float] = deque(maxlen=50)
        self.said = False

    def begins(self, loss: float) -> bool:
        """Whether this row's loss is the first that dwarfs the median of those before it."""
        usual = statistics.median(self.sizes) if len(self.sizes) >= self.ENOUGH else math.inf
        self.sizes.append(abs(loss))
        if self.said or abs(loss) <= self.FACTOR * max(usual, 1e-8):
            return False
        self.said = True
        return True
