"""Search spaces: ranges, their parameters, and files that are none."""

from __future__ import annotations

import math

import pytest

from rl_cli.core.errors import BadInput
from rl_cli.search import space
from rl_cli.search.space import Dimension
from tests.conftest import REPO


@pytest.mark.parametrize("path", sorted((REPO / "conf/space").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_space_has_learning_rate_and_gamma(path):
    found = space.load(path)
    assert found["algo.learning_rate"].kind == "log"
    low, high = found["algo.gamma"].ends()
    assert low >= 0.9
    assert high == 0.9999


def test_kinds_read_their_numbers(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "a: {float: [0, 1e-2]}\nb: {log: [1e-5, 1e-2]}\nc: {int: [1, 5]}\nd: {log_int: [1, 10_000]}\n"
        "e: {logit: [0.9, 0.99]}\nf: {categorical: [1e-3, [64, 64], true, null, relu]}\n"
    )
    found = space.load(path)
    assert [found[k].ends() for k in "abcde"] == [
        [0, 0.01], [1e-5, 0.01], [1, 5], [1, 10_000], [0.9, 0.99],
    ]  # fmt: skip
    assert found["f"].choices == (0.001, [64, 64], True, None, "relu")


def test_parameter_of_gamma_is_its_logit():
    gamma = Dimension("algo.gamma", "logit", 0.5, 0.9999)
    assert gamma.parameter(0.99) == pytest.approx(math.log(99))
    assert gamma.value(math.log(99)) == 0.99
    assert gamma.value(math.log(1 / 3) + 1e-9) == 0.5  # 0.25 is outside
    assert gamma.value(math.log(0.998765432 / (1 - 0.998765432))) == 0.998765


@pytest.mark.parametrize(
    ("kind", "low", "high", "value", "parameter"),
    [
        ("float", 0.0, 1.0, 0.25, 0.25),
        ("log", 1e-5, 1.0, 0.001234, 0.001234),
        ("int", 1, 5, 3, 3),
        ("log_int", 1, 100, 7, 7),
    ],
)
def test_value_returns_what_parameter_took(kind, low, high, value, parameter):
    dimension = Dimension("k", kind, low, high)
    assert dimension.parameter(value) == parameter
    assert dimension.value(parameter) == pytest.approx(value, rel=1e-4)


def test_categorical_values_keep_their_types():
    dimension = Dimension("k", "categorical", choices=(1, True, None, [64, 64], "relu"))
    assert [dimension.value(dimension.parameter(c)) for c in dimension.choices] == list(
        dimension.choices
    )
    assert len({dimension.parameter(c) for c in dimension.choices}) == 5


def test_numbers_have_four_digits():
    assert Dimension("k", "log", 1e-5, 1.0).value(0.00123456789) == 0.001235


def test_a_space_is_widened_to_the_value_without_a_search():
    assert Dimension("k", "int", 2, 5).widened(1).ends() == [1, 5]
    assert Dimension("k", "int", 2, 5).widened(3).ends() == [2, 5]
    assert Dimension("k", "categorical", choices=(1, 2)).widened(True).choices == (1, 2, True)
    assert Dimension("k", "categorical", choices=(1, 2)).widened(2).choices == (1, 2)
    with pytest.raises(ValueError, match="1 has no logit"):
        Dimension("k", "logit", 0.9, 0.99).widened(1.0)
    with pytest.raises(ValueError, match="null is not a number"):
        Dimension("k", "float", 0.0, 1.0).widened(None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no keys"),
        ("- a\n", "has no keys"),
        ("a: 3\n", "one kind of range"),
        ("a: {log: [1, 2], int: [1, 2]}\n", "one kind of range"),
        ("a: {catgorical: [1, 2]}\n", "did you mean categorical"),
        ("a: {log: 3}\n", "needs a list"),
        ("a: {log: [0, 1]}\n", "above 0"),
        ("a: {log: [2, 1]}\n", "below the second"),
        ("a: {float: [1, .inf]}\n", "below the second"),
        ("a: {float: [1, x]}\n", "two numbers"),
        ("a: {int: [1, 2.5]}\n", "whole numbers"),
        ("a: {logit: [0, 1]}\n", "between 0 and 1"),
        ("a: {categorical: [1, 1]}\n", "different values"),
        ("a: &x {categorical: [1, 2]}\nb: *x\n", "alias"),
        ("a: !!python/object:os.system x\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_space_is_refused(tmp_path, text, words):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        space.load(path)
    assert words in str(error.value)
    assert "a.yaml" in error.value.where
