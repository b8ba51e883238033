"""Statistics of episode returns: IQM, bootstrap intervals, running sums."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rl_cli.core.fields import Fields
from rl_cli.core.types import Episode

MAX_RETURN = 1e150
"""Bound of the mean of returns in a loaded state: its square is finite."""

BOOTSTRAP_REPEATS = 10_000
BLOCK = 1 << 22
"""Values drawn at a time, to bound memory: 32 MiB."""


class Summary(NamedTuple):
    """Of a set of episodes. `iqm_low`, `iqm_high`: 95 % percentile-bootstrap interval of the IQM."""

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

    Agarwal et al. 2021 (arXiv:2108.13264). If n / 4 is not an integer, the outermost kept values
    have a fractional weight: 5 values have the weights 0, 0.75, 1, 0.75, 0.
    """
    n = values.shape[-1]
    edges = np.arange(n + 1)
    inside = np.clip(edges, n / 4, 3 * n / 4)
    weight = np.diff(inside)
    result: np.ndarray = (np.sort(values, axis=-1) * weight).sum(-1) / weight.sum()
    return result


def iqm_interval(values: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile-bootstrap interval of the IQM of (n,) values; deterministic for a given seed."""
    rng, n = np.random.default_rng(seed), len(values)
    rows = max(1, BLOCK // n)
    counts = [min(rows, BOOTSTRAP_REPEATS - at) for at in range(0, BOOTSTRAP_REPEATS, rows)]
    found = np.concatenate([iqm(rng.choice(values, size=(count, n))) for count in counts])
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def is_success(episode: Episode, success_at: float | None) -> bool | None:
    """What the env says, else whether the return is at least `success_at`; None: neither is known."""
    if episode.success is not None or success_at is None:
        return episode.success
    return episode.episode_return >= success_at


def success_rate(episodes: Iterable[Episode], success_at: float | None) -> float | None:
    """Share of the episodes of which success is known; None: it is known of none."""
    known = [x for x in (is_success(e, success_at) for e in episodes) if x is not None]
    return sum(known) / len(known) if known else None


def info_means(episodes: Sequence[Episode]) -> dict[str, float]:
    """Mean of each value of `info` over the episodes that have it."""
    found: dict[str, list[float]] = {}
    for episode in episodes:
        for key, value in episode.info.items():
            found.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in found.items()}


def summarize(episodes: list[Episode], success_at: float | None = None) -> Summary:
    """Summary of finished episodes. See `is_success`."""
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
        success_rate=success_rate(episodes, success_at),
        success_at=None if any(e.success is not None for e in episodes) else success_at,
    )


class EpisodeTally:
    """Statistics of all training episodes of a run in constant memory: Welford's running sums.

    Welford 1962 (doi:10.1080/00401706.1962.10490022).

    Args:
        success_at: return from which on an episode counts as a success; None: not counted.

    """

    def __init__(self, success_at: float | None) -> None:
        self.success_at = success_at
        self.count, self.steps, self.successes = 0, 0, 0
        self.mean, self.squares = 0.0, 0.0  # of the returns; sum of squared deviations
        self.judged, self.reported = 0, 0  # episodes of which success is known; by the env
        self.missed = 0  # episodes whose returns are unknown (checkpoint format 1)

    def add(self, episode: Episode) -> None:
        value = episode.episode_return
        self.count, self.steps = self.count + 1, self.steps + episode.length
        before = self.mean
        self.mean += (value - before) / (self.count - self.missed)
        self.squares += (value - before) * (value - self.mean)
        success = is_success(episode, self.success_at)
        self.judged += success is not None
        self.successes += bool(success)
        self.reported += episode.success is not None

    def count_unknown(self, episodes: int) -> None:
        """Start from a number of episodes whose returns are unknown."""
        self.count = self.missed = episodes

    def summary(self) -> dict[str, float]:
        """episodes, mean, std, mean_length and, with a threshold, success_rate and success_at.

        Empty before the first episode.
        """
        known = self.count - self.missed
        if known == 0:
            return {}
        std = math.sqrt(self.squares / (known - 1)) if known > 1 else 0.0
        summary = {"episodes": known, "mean": self.mean, "std": std}
        summary["mean_length"] = self.steps / known
        if self.judged:
            summary["success_rate"] = self.successes / self.judged
            if self.success_at is not None and not self.reported:
                summary["success_at"] = self.success_at
        return summary

    def state_dict(self) -> dict[str, float]:
        names = ("count", "steps", "successes", "judged", "reported", "mean", "squares", "missed")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: object) -> None:
        """Raises StateError for counts and sums that no episodes have."""
        fields = Fields(state, "tally")
        self.count = fields.integer("count")
        self.missed = fields.integer("missed", 0, self.count)
        known = self.count - self.missed  # earlier versions knew thresholds only
        self.judged = fields.integer(
            "judged", 0, self.count, 0 if self.success_at is None else known
        )
        self.reported = fields.integer("reported", 0, self.judged, 0)
        self.successes = fields.integer("successes", 0, self.judged)
        self.steps = fields.integer("steps")
        self.mean = fields.number("mean", -MAX_RETURN, MAX_RETURN)
        self.squares = fields.number("squares", 0.0)
