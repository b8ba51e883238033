import json
import math

import numpy as np
import pytest

from rl_cli.core.types import Episode
from rl_cli.tracking.statistics import EpisodeTally, iqm, iqm_interval, summarise
from rl_cli.training.callbacks.metrics import Divergence


def episodes(*returns):
    return [Episode(float(r), 10 * (i + 1)) for i, r in enumerate(returns)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([100.0, 2.0, -50.0, 4.0], 3.0),  # the two middle ones: (2 + 4) / 2
        # weights 0 .75 1 .75 0 of the sorted 0 4 10 12 100: (3 + 10 + 9) / 2.5
        ([10.0, 100.0, 0.0, 12.0, 4.0], 8.8),
        # weights 0 .5 1 1 .5 0 of the sorted 0 2 3 4 8 99: (1 + 3 + 4 + 4) / 3
        ([0.0, 2.0, 3.0, 4.0, 8.0, 99.0], 4.0),
        # the four middle ones of 0 0 1 2 3 10 50 60: (1 + 2 + 3 + 10) / 4
        ([60.0, 0.0, 3.0, 1.0, 0.0, 2.0, 50.0, 10.0], 4.0),
        ([7.0], 7.0),
        ([1.0, 5.0], 3.0),  # half of each
    ],
)
def test_iqm_is_the_mean_of_the_middle_half(values, expected):
    assert float(iqm(np.array(values))) == pytest.approx(expected)


def test_iqm_works_along_the_last_axis():
    rows = np.array([[100.0, 2.0, -50.0, 4.0], [1.0, 1.0, 1.0, 9.0]])
    assert iqm(rows).tolist() == pytest.approx([3.0, 1.0])


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_contains_the_point_estimate(seed):
    values = np.random.default_rng(seed).normal(100.0, 20.0, size=20)
    low, high = iqm_interval(values)
    assert low < float(iqm(values)) < high


def test_the_interval_is_deterministic_and_does_not_touch_global_chance():
    values = np.arange(12.0) ** 2
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert iqm_interval(values) == iqm_interval(values)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_the_interval_collapses_for_constant_values():
    assert iqm_interval(np.full(10, 7.0)) == (7.0, 7.0)


def test_a_higher_level_gives_a_wider_interval():
    values = np.arange(20.0)
    (low50, high50), (low95, high95) = iqm_interval(values, 0.5), iqm_interval(values, 0.95)
    assert low95 < low50 < high50 < high95


def test_the_interval_of_two_values_by_hand():
    # of the resamples {0,0} {0,1} {1,0} {1,1} a quarter has IQM 0 and a quarter 1: the 95 % bounds
    # lie within those quarters, the bounds of a 40 % interval (0.3, 0.7) in the half between
    values = np.array([0.0, 1.0])
    assert iqm_interval(values, 0.95) == (0.0, 1.0)
    assert iqm_interval(values, 0.4) == (0.5, 0.5)


def test_summary_by_hand():
    summary = summarise(episodes(2.0, 4.0, 4.0, 10.0))
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
    summary = summarise(episodes(500.0, 475.0, 474.999, 10.0), success_at=475.0)
    assert summary.success_rate == 0.5
    assert summary.success_at == 475.0


def test_without_a_threshold_there_is_no_success_rate():
    summary = summarise(episodes(1.0, 2.0))
    assert summary.success_rate is None
    assert summary.success_at is None


def test_one_episode_has_no_spread():
    summary = summarise(episodes(3.0))
    assert (summary.std, summary.iqm, summary.iqm_low, summary.iqm_high) == (0.0, 3.0, 3.0, 3.0)


def test_divergence_is_said_once_and_never_too_soon():
    watch = Divergence()
    assert not watch.detects(1e9)  # nothing to compare it with
    assert not any(watch.detects(loss) for loss in [0.5, -2.0] * 10)  # usual size now: 2
    assert not watch.detects(20_000.0)
    assert watch.detects(20_001.0)
    assert not watch.detects(1e12)


def test_a_tally_is_what_numpy_says_of_all_episodes():
    """Returns 2, 4, 9 of lengths 10, 20, 30: mean 5, deviations 3, 1, 4, so std sqrt(26 / 2)."""
    tally = EpisodeTally(success_at=4.0)
    assert tally.summary() == {}
    for episode in episodes(2, 4):
        tally.add(episode)
    half = EpisodeTally(success_at=4.0)
    half.load_state_dict(json.loads(json.dumps(tally.state_dict())))
    for one in (tally, half):
        one.add(Episode(9.0, 30))
    told = tally.summary()
    assert half.summary() == told  # to the bit
    assert (told["episodes"], told["mean_length"], told["success_at"]) == (3, 20.0, 4.0)
    assert (told["mean"], told["success_rate"]) == (pytest.approx(5.0), 2 / 3)
    assert told["std"] == pytest.approx(math.sqrt(13))


def test_a_tally_keeps_its_digits_where_squares_would_lose_them():
    tally = EpisodeTally(None)
    for value in (1e9 + 1, 1e9 + 2, 1e9 + 3):
        tally.add(Episode(value, 1))
    assert tally.summary()["std"] == pytest.approx(1.0)
    assert "success_rate" not in tally.summary()
