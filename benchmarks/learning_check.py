"""Whether presets still learn as the recorded results say: a test over seeds with few false alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

QUICK = ("ppo_cartpole", "reinforce_cartpole", "dqn_cartpole", "dqn_mountaincar", "ppo_pendulum")
"""Cases of `learning.py --quick`: ten minutes on two idle processors."""
FIRST_SEED = 9_900
SEEDS = 6
"""With ten recorded seeds, the fewest that can raise an alarm: 1 of 8,008 orders of the sixteen."""
FALSE_ALARMS = 1e-3
"""Bound of the probability that a check of all its cases fails although nothing changed."""

Results = Sequence[Mapping[str, Any]]


class Finding(NamedTuple):
    """One case: returns of the best checkpoint by seed, and the probability `p` of ranks as low by chance."""

    case: str
    before: np.ndarray
    now: np.ndarray
    p: float
    expected: bool

    def __str__(self) -> str:
        words = "as expected" if self.expected else "LOWER THAN RECORDED"
        medians = f"median {np.median(self.now):.1f}, recorded {np.median(self.before):.1f}"
        return f"{self.case}: {words} ({medians}, p = {self.p:.2g})"


def check(recorded: Mapping[str, Results], new: Mapping[str, Results]) -> list[Finding]:
    """Compare the best checkpoints of each case of `new` with the recorded ones.

    If nothing changed, every order of the pooled seeds is equally likely, so each test fails with at most
    the probability of its level, however returns are distributed, with ties too. The levels of all tests
    sum to FALSE_ALARMS (Bonferroni), so the bound holds for the whole check.
    """
    found = []
    for case, results in new.items():
        before, now = (best(of) for of in (recorded[case], results))
        p = lower(now, before)
        found.append(Finding(case, before, now, p, p > FALSE_ALARMS / len(new)))
    return found


def best(results: Results) -> np.ndarray:
    """(S,) mean returns of the best checkpoint, by seed."""
    return np.array([each["best"] for each in results], dtype=np.float64)


def lower(now: np.ndarray, before: np.ndarray) -> float:
    """P-value of the exact permutation test of the rank sum: (m,) values are lower than (n,) others.

    Ties share their mean rank.
    """
    ranks = stats.rankdata(np.concatenate([now, before]))
    found = stats.permutation_test(
        (ranks[: len(now)], ranks[len(now) :]), lambda x, _, axis: x.sum(axis=axis),
        vectorized=True, n_resamples=np.inf, alternative="less", batch=10_000,
    )  # fmt: skip
    return float(found.pvalue)
