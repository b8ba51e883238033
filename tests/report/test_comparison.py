"""Statistics of a report: values computed on paper, and scipy as the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rl_cli.report import comparison
from rl_cli.report.comparison import Threshold

RNG = np.random.default_rng(5)


def test_iqm_is_scipys_trimmed_mean_when_a_quarter_is_whole():
    values = RNG.normal(size=12)
    assert comparison.iqm_of(values).value == pytest.approx(stats.trim_mean(values, 0.25))


def test_interval_is_that_of_scipys_percentile_bootstrap():
    values = RNG.normal(10, 2, size=16)
    found = comparison.iqm_of(values, repeats=20_000)
    reference = stats.bootstrap(
        (values,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=1,
    ).confidence_interval
    assert [found.low, found.high] == pytest.approx(list(reference), abs=0.05)


def test_too_few_values_have_no_interval_and_none_have_no_estimate():
    four = comparison.iqm_of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert four.value == 2.5
    assert math.isnan(four.low)
    assert math.isfinite(comparison.iqm_of(np.arange(5.0)).low)
    assert math.isnan(comparison.iqm_of(np.array([math.nan])).value)


def test_one_run_and_ties_and_other_numbers_of_runs():
    one, same = np.array([3.0]), np.full(6, 2.0)
    assert comparison.iqm_of(one)[0] == 3.0
    assert comparison.improvement(one, one)[0] == 0.5
    assert comparison.seeds_needed(one, one) is None
    assert comparison.iqm_of(same) == (2.0, 2.0, 2.0)
    assert comparison.improvement(same, same) == (0.5, 0.5, 0.5)
    assert comparison.seeds_needed(same, same) is None
    assert comparison.seeds_needed(same, same + 1) == 2  # no spread
    # of 5 against 3 runs: 0 is above none, 1 ties with one, ...: (0 + 0.5 + 1 + 2 + 3) / 15
    found = comparison.improvement(np.array([0.0, 1, 1.5, 2.5, 9]), np.array([1.0, 2, 3]))
    assert found.value == pytest.approx(6.5 / 15)
    assert math.isnan(found.low)


def test_values_without_result_are_left_out():
    known = np.array([1.0, 5.0, 2.0, 8.0, 4.0])
    assert comparison.iqm_of(np.append(known, math.nan)) == comparison.iqm_of(known)


def test_stratified_bootstrap_resamples_within_each_env():
    # each env has one value only, so that no resample changes anything; unstratified, they would mix
    found = comparison.stratified_iqm([np.zeros(6), np.full(6, 10.0)])
    assert found == (5.0, 5.0, 5.0)


def test_improvement_is_the_u_statistic_with_ties_counted_half():
    x, y = np.array([1.0, 2.0, 3.0, 3.0, 7.0]), np.array([2.0, 3.0, 3.0, 4.0, 0.0])
    expected = stats.mannwhitneyu(x, y).statistic / 25
    found = comparison.improvement(x, y)
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high
    assert comparison.improvement(y, x).value == pytest.approx(1 - expected)


def test_improvement_of_separate_groups_is_certain():
    assert comparison.improvement(np.arange(5.0) + 10, np.arange(5.0)) == (1.0, 1.0, 1.0)


def test_time_to_threshold_counts_runs_that_never_reached_it():
    # 4 runs: events at 10 and 30, ends without at 20 and 40.
    # S(10) = 3/4; at 30 two are at risk: S = 3/4 * 1/2 = 3/8 <= 1/2
    events = [(10, True), (20, False), (30, True), (40, False)]
    assert comparison.time_to(events) == Threshold(2, 4, 30)
    assert comparison.time_to([(10, True), (20, False), (20, False)]).median == math.inf
    assert comparison.time_to([]) == Threshold(0, 0, math.inf)


def test_time_to_threshold_is_scipys_survival_median():
    times = RNG.integers(1, 60, size=25)
    happened = RNG.random(25) < 0.7
    data = stats.CensoredData.right_censored(times, ~happened)
    survival = stats.ecdf(data).sf
    reference = survival.quantiles[survival.probabilities <= 0.5]
    found = comparison.time_to(list(zip(times, happened, strict=True)))
    assert found.median == (reference[0] if len(reference) else math.inf)


def test_half_of_the_runs_is_half_whatever_their_number():
    # of 10 runs the fifth event, at 4, leaves 1 * 8/10 * 7/8 * 5/7 = 1/2; in floats 0.5000000000000001
    ended = [(8, False)] * 5
    assert (
        comparison.time_to([(1, True), (1, True), (3, True), (4, True), (4, True), *ended]).median
        == 4
    )
    for n in range(2, 101, 2):  # without censoring, event n/2 leaves one half
        assert comparison.time_to([(t, True) for t in range(1, n + 1)]).median == n / 2


def test_share_reached_is_scipys_kaplan_meier_estimate():
    times = RNG.integers(1, 30, size=40)
    happened = RNG.random(40) < 0.6
    survival = stats.ecdf(stats.CensoredData.right_censored(times, ~happened)).sf
    at, shares = comparison.share_reached(list(zip(times, happened, strict=True)))
    assert shares == pytest.approx(1 - survival.evaluate(at))
    assert set(at) == set(times[happened])


def rliable_bootstrap(strata, statistic, repeats, rng):
    """Percentile interval as rliable computes it: runs are drawn with replacement within each task."""
    found = [
        statistic([values[rng.integers(len(values), size=len(values))] for values in strata])
        for _ in range(repeats)
    ]
    return np.percentile(found, [2.5, 97.5])


def test_stratified_interval_is_that_of_rliables_formula():
    strata = [RNG.normal(k, 1 + k, size=8) for k in range(3)]
    found = comparison.stratified_iqm(strata, repeats=4_000)

    def aggregate(drawn):
        return stats.trim_mean(np.concatenate(drawn), 0.25)

    assert found.value == pytest.approx(aggregate(strata))
    reference = rliable_bootstrap(strata, aggregate, 1_500, np.random.default_rng(1))
    assert [found.low, found.high] == pytest.approx(list(reference), abs=0.12)


def test_improvement_over_envs_is_the_mean_of_mann_whitney_and_has_rliables_interval():
    pairs = [(RNG.normal(k / 2, 1, size=7), RNG.normal(0, 1, size=9)) for k in range(3)]
    found = comparison.mean_improvement([*pairs, (np.array([math.nan]), np.arange(5.0))])

    def probability(x, y):
        return stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))

    assert found.value == pytest.approx(np.mean([probability(x, y) for x, y in pairs]))
    strata = [values for pair in pairs for values in pair]

    def aggregate(drawn):
        return np.mean(
            [(x[:, None] > y).mean() for x, y in zip(drawn[::2], drawn[1::2], strict=True)]
        )

    reference = rliable_bootstrap(strata, aggregate, 2_000, np.random.default_rng(1))
    assert [found.low, found.high] == pytest.approx(list(reference), abs=0.03)


def test_profile_over_envs_is_rliables_mean_over_tasks_with_its_interval():
    strata = [RNG.normal(k, 1, size=6) for k in range(2)]
    tau = np.linspace(-1, 2, 7)
    shares, low, high = comparison.stratified_profile([*strata, np.array([math.nan])], tau)
    reference = np.mean([stats.ecdf(values).sf.evaluate(tau) for values in strata], axis=0)
    assert shares == pytest.approx(reference)
    bounds = rliable_bootstrap(
        *(strata, lambda drawn: (drawn[0] > tau[3]).mean() / 2 + (drawn[1] > tau[3]).mean() / 2),
        *(2_000, np.random.default_rng(1)),
    )
    assert [low[3], high[3]] == pytest.approx(list(bounds), abs=0.09)
    assert np.isnan(comparison.stratified_profile([strata[0], strata[1][:4]], tau)[1]).all()
    assert np.isnan(comparison.stratified_profile([], tau)[0]).all()


def test_seeds_needed_give_the_power_that_is_said():
    x, y = RNG.normal(0.6, 1, size=10), RNG.normal(0, 1, size=10)
    count = comparison.seeds_needed(x, y)
    shift, spread = abs(x.mean() - y.mean()), math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    trials = RNG.normal(0, spread, size=(2, 4_000, count))
    found = stats.ttest_ind(trials[0] + shift, trials[1], axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.04)


def test_profile_is_the_share_above_each_threshold():
    shares = comparison.profile(np.array([0.1, 0.5, 0.5, 0.9, math.nan]), np.array([0, 0.5, 0.9]))
    assert shares.tolist() == [1.0, 0.25, 0.0]


def test_seeds_needed_for_a_difference_of_one_standard_deviation():
    x = np.array([-1.0, 1.0, -1.0, 1.0])  # variance 4/3
    shift = math.sqrt(4 / 3)
    assert comparison.seeds_needed(x + shift, x) == 16  # 2 * 2.8**2 = 15.7
    assert comparison.seeds_needed(x, x) is None
    assert comparison.seeds_needed(x[:1], x) is None
