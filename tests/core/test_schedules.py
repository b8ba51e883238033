from itertools import pairwise

import pytest

from rl_cli.core.schedules import crossings, exponential, linear


@pytest.mark.parametrize(
    ("step", "expected"),
    # 1 - 0.9 * step / 200
    [(0, 1.0), (50, 0.775), (100, 0.55), (200, 0.1), (201, 0.1), (10_000, 0.1)],
)
def test_linear_is_constant_after_its_duration(step, expected):
    assert linear(1.0, 0.1, 200, step) == pytest.approx(expected)


def test_linear_can_rise():
    assert linear(0.0, 8.0, 4, 1) == 2.0


def test_linear_to_zero_is_exactly_zero_and_never_negative():
    assert linear(3e-4, 0.0, 1000, 1000) == 0.0
    assert linear(3e-4, 0.0, 1000, 1008) == 0.0  # 8 envs step past the budget of a schedule


def test_linear_between_equal_ends_is_exactly_constant():
    # a constant learning rate is written as a schedule whose ends are equal
    assert {linear(3e-4, 3e-4, 997, step) for step in range(1200)} == {3e-4}


@pytest.mark.parametrize(
    ("step", "expected"),
    # 1 * 0.01 ** (step / 200)
    [(0, 1.0), (100, 0.1), (150, 10**-1.5), (200, 0.01), (201, 0.01), (10_000, 0.01)],
)
def test_exponential_is_constant_after_its_duration(step, expected):
    assert exponential(1.0, 0.01, 200, step) == pytest.approx(expected)


def test_exponential_changes_by_a_constant_factor():
    values = [exponential(0.9, 0.05, 10, step) for step in range(11)]
    factors = [after / before for before, after in pairwise(values)]
    assert factors == pytest.approx([(0.05 / 0.9) ** 0.1] * 10)


def test_eight_envs_cross_every_multiple_of_100_once():
    # steps 0, 8, ..., 800: step % 100 == 0 would hold at 200, 400, 600 and 800 only
    found = [(step, crossings(step - 8, step, 100)) for step in range(8, 801, 8)]
    assert [step for step, count in found if count] == [104, 200, 304, 400, 504, 600, 704, 800]
    assert sum(count for _, count in found) == 8


def test_multiple_is_counted_at_the_step_that_reaches_it():
    assert crossings(92, 100, 100) == 1
    assert crossings(100, 108, 100) == 0


def test_one_increment_can_cross_several_multiples():
    assert crossings(0, 350, 100) == 3
    assert crossings(0, 8, 1) == 8
    assert crossings(95, 305, 100) == 3  # 100, 200, 300


def test_period_zero_means_never():
    assert crossings(0, 1_000_000, 0) == 0


def test_crossings_equals_counting_multiples_one_by_one():
    for period in (1, 3, 7):
        for before in range(15):
            for after in range(before, 30):
                by_one = sum(step % period == 0 for step in range(before + 1, after + 1))
                assert crossings(before, after, period) == by_one
