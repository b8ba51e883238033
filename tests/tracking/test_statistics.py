"""IQM and its bootstrap interval, summaries, running sums of episodes, detection of divergence."""

import json
import math

import numpy as np
import pytest

from rl_cli.core.types import Episode
from rl_cli.tracking import statistics
from rl_cli.tracking.statistics import EpisodeTally, iqm, iqm_interval, summarize
from rl_cli.training.callbacks.metrics import Divergence


def episodes(*returns):
    return [Episode(float(r), 10 * (i + 1)) for i, r in enumerate(returns)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([100.0, 2.0, -50.0, 4.0], 3.0),  # the two middle values: (2 + 4) / 2
        # weights 0 .75 1 .75 0 of the sorted 0 4 10 12 100: (3 + 10 + 9) / 2.5
        ([10.0, 100.0, 0.0, 12.0, 4.0], 8.8),
        # weights 0 .5 1 1 .5 0 of the sorted 0 2 3 4 8 99: (1 + 3 + 4 + 4) / 3
        ([0.0, 2.0, 3.0, 4.0, 8.0, 99.0], 4.0),
        # the four middle values of 0 0 1 2 3 10 50 60: (1 + 2 + 3 + 10) / 4
        ([60.0, 0.0, 3.0, 1.0, 0.0, 2.0, 50.0, 10.0], 4.0),
        ([7.0], 7.0),
        ([1.0, 5.0], 3.0),  # weight 1/2 each
    ],
)
def test_iqm_is_the_mean_of_the_middle_half(values, expected):
    assert float(iqm(np.array(values))) == pytest.approx(expected)


def test_iqm_works_along_the_last_axis():
    rows = np.array([[100.0, 2.0, -50.0, 4.0], [1.0, 1.0, 1.0, 9.0]])
    assert iqm(rows).tolist() == pytest.approx([3.0, 1.0])


@pytest.mark.parametrize("seed", range(5))
def test_interval_contains_the_point_estimate(seed):
    values = np.random.default_rng(seed).normal(100.0, 20.0, size=20)
    low, high = iqm_interval(values)
    assert low < float(iqm(values)) < high


def test_interval_is_deterministic_and_does_not_use_the_global_generator():
    values = np.arange(12.0) ** 2
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert iqm_interval(values) == iqm_interval(values)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_interval_of_constant_values_has_width_zero():
    assert iqm_interval(np.full(10, 7.0)) == (7.0, 7.0)


def test_higher_level_gives_a_wider_interval():
    values = np.arange(20.0)
    (low50, high50), (low95, high95) = iqm_interval(values, 0.5), iqm_interval(values, 0.95)
    assert low95 < low50 < high50 < high95


def test_interval_of_two_values():
    # resamples {0,0} {0,1} {1,0} {1,1}: a quarter has IQM 0, a half 0.5, a quarter 1. The quantiles
    # 0.025 and 0.975 are 0 and 1; the quantiles 0.3 and 0.7 are 0.5
    values = np.array([0.0, 1.0])
    assert iqm_interval(values, 0.95) == (0.0, 1.0)
    assert iqm_interval(values, 0.4) == (0.5, 0.5)


def test_summary():
    summary = summarize(episodes(2.0, 4.0, 4.0, 10.0))
    assert summary.episodes == 4
    assert summary.mean == pytest.approx(5.0)  # 20 / 4
    assert summary.std == pytest.approx(math.sqrt(12.0))  # (9 + 1 + 1 + 25) / 3
    assert summary.median == pytest.approx(4.0)
    assert summary.iqm == pytest.approx(4.0)
    assert (summary.min, summary.max) == (2.0, 10.0)
    assert summary.mean_length == pytest.approx(25.0)  # (10 + 20 + 30 + 40) / 4
    assert (summary.iqm_low, summary.iqm_high) == iqm_interval(np.array([2.0, 4.0, 4.0, 10.0]))


def test_success_is_a_return_of_at_least_the_threshold():
    # 475 itself counts, 474.999 does not: 2 of 4
    summary = summarize(episodes(500.0, 475.0, 474.999, 10.0), success_at=475.0)
    assert summary.success_rate == 0.5
    assert summary.success_at == 475.0


def test_no_success_rate_without_a_threshold():
    summary = summarize(episodes(1.0, 2.0))
    assert summary.success_rate is None
    assert summary.success_at is None


def test_one_episode_has_zero_std_and_interval_width():
    summary = summarize(episodes(3.0))
    assert (summary.std, summary.iqm, summary.iqm_low, summary.iqm_high) == (0.0, 3.0, 3.0, 3.0)


def test_divergence_is_detected_once_and_only_after_ten_rows():
    divergence = Divergence()
    assert not divergence.detects(1e9)  # no median yet
    assert not any(
        divergence.detects(loss) for loss in [0.5, -2.0] * 10
    )  # the median of the absolute values is 2
    assert not divergence.detects(20_000.0)
    assert divergence.detects(20_001.0)
    assert not divergence.detects(1e12)


def test_tally_gives_mean_and_std_of_all_episodes_also_after_a_resume():
    """Returns 2, 4, 9 of lengths 10, 20, 30: mean 5, deviations 3, 1, 4, so std sqrt(26 / 2)."""
    tally = EpisodeTally(success_at=4.0)
    assert tally.summary() == {}
    for episode in episodes(2, 4):
        tally.add(episode)
    resumed = EpisodeTally(success_at=4.0)
    resumed.load_state_dict(json.loads(json.dumps(tally.state_dict())))
    for each in (tally, resumed):
        each.add(Episode(9.0, 30))
    summary = tally.summary()
    assert resumed.summary() == summary
    assert (summary["episodes"], summary["mean_length"], summary["success_at"]) == (3, 20.0, 4.0)
    assert (summary["mean"], summary["success_rate"]) == (pytest.approx(5.0), 2 / 3)
    assert summary["std"] == pytest.approx(math.sqrt(13))


def test_std_of_large_returns_is_accurate():
    """The difference of mean square and squared mean would lose all digits."""
    tally = EpisodeTally(None)
    for value in (1e9 + 1, 1e9 + 2, 1e9 + 3):
        tally.add(Episode(value, 1))
    assert tally.summary()["std"] == pytest.approx(1.0)
    assert "success_rate" not in tally.summary()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_interval_is_the_same_however_the_draws_are_divided(monkeypatch, size):
    values = np.random.default_rng(size).normal(size=size)
    whole = statistics.iqm_interval(values)
    for block in (1, 10, 3 * size, 997):
        monkeypatch.setattr(statistics, "BLOCK", block)
        assert statistics.iqm_interval(values) == whole
