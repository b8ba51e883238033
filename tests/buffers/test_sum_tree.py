import shutil

import numpy as np
import pytest

from rl_cli.buffers.sum_tree import SumTree


def tree_of(weights, capacity=None):
    tree = SumTree(capacity or len(weights))
    tree.set(np.arange(len(weights)), np.array(weights, float))
    return tree


def test_find_returns_the_row_whose_interval_contains_the_point():
    tree = tree_of([1.0, 0.0, 3.0])
    assert tree.total == 4.0
    assert tree.find(np.array([0.0, 0.99, 1.0, 2.5, 3.99])).tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize("capacity", [1, 16, 17, 256, 257, 5_000])
def test_find_equals_searchsorted_on_the_cumulative_sum(capacity):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 5, capacity).astype(float)
    weights[0] += 1.0
    tree = tree_of(weights)
    points = rng.random(500) * weights.sum()  # sums of integers are exact in any order
    assert tree.find(points).tolist() == np.searchsorted(weights.cumsum(), points, "right").tolist()


def test_sums_depend_on_current_weights_only():
    rng = np.random.default_rng(1)
    tree = SumTree(3_000)
    for _ in range(200):
        tree.set(rng.integers(3_000, size=32), rng.random(32))
    again = SumTree(3_000)
    again.fill(tree.get(np.arange(3_000)))
    for ours, theirs in zip(tree.levels, again.levels, strict=True):
        assert np.array_equal(ours, theirs)


def test_row_of_weight_zero_is_never_found_despite_rounding():
    tree = tree_of([0.1] * 10 + [0.0] * 30)
    points = np.array([tree.total, np.nextafter(tree.total, 0.0), tree.total + 1e-9])
    assert (tree.find(points) < 10).all()


def test_last_weight_counts_for_a_repeated_row():
    tree = SumTree(4)
    tree.set(np.array([2, 2]), np.array([5.0, 1.0]))
    assert tree.total == 1.0


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("capacity", [1, 15, 16, 17, 300, 5_000])
def test_native_tree_equals_numpy_tree(capacity):
    native, plain = SumTree(capacity), SumTree(capacity)
    assert native.native is not None
    plain.native = None
    rng = np.random.default_rng(capacity)
    for round_ in range(60):
        rows = rng.integers(capacity, size=40)
        weights = rng.random(40) ** 9 * 10.0 ** rng.integers(-8, 8, 40) * (rng.random(40) > 0.2)
        for tree in (native, plain):
            tree.set(rows, weights if round_ % 7 else 0.25)
        for ours, theirs in zip(native.levels, plain.levels, strict=True):
            assert np.array_equal(ours, theirs)
        edges = np.concatenate([rng.random(50), [0.0, 1.0, 1.0 + 1e-15]]) * native.total
        assert np.array_equal(native.find(edges), plain.find(edges))


@pytest.mark.parametrize("use_native", [False, True])
def test_nan_weights_raise(use_native):
    tree = SumTree(300)
    if not use_native:
        tree.native = None
    tree.set(np.arange(300), np.full(300, np.nan))
    with pytest.raises(IndexError):
        tree.find(np.array([0.5]))
