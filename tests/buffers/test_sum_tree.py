import shutil

import numpy as np
import pytest

from rl_cli.buffers.sum_tree import SumTree


def tree_of(weights, capacity=None):
    tree = SumTree(capacity or len(weights))
    tree.set(np.arange(len(weights)), np.array(weights, float))
    return tree


def test_a_point_lies_in_the_row_whose_share_covers_it():
    tree = tree_of([1.0, 0.0, 3.0])
    assert tree.total == 4.0
    assert tree.find(np.array([0.0, 0.99, 1.0, 2.5, 3.99])).tolist() == [0, 0, 2, 2, 2]


@pytest.mark.parametrize("capacity", [1, 16, 17, 256, 257, 5_000])
def test_rows_are_found_as_in_one_long_cumulative_sum(capacity):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 5, capacity).astype(float)
    weights[0] += 1.0
    tree = tree_of(weights)
    points = rng.random(500) * weights.sum()  # whole numbers add up exactly in any order
    assert tree.find(points).tolist() == np.searchsorted(weights.cumsum(), points, "right").tolist()


def test_sums_have_the_same_bits_however_the_weights_came():
    rng = np.random.default_rng(1)
    tree = SumTree(3_000)
    for _ in range(200):
        tree.set(rng.integers(3_000, size=32), rng.random(32))
    again = SumTree(3_000)
    again.fill(tree.get(np.arange(3_000)))
    for ours, theirs in zip(tree.levels, again.levels, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_row_of_no_weight_is_never_found_even_where_rounding_eats_the_last_share():
    tree = tree_of([0.1] * 10 + [0.0] * 30)
    points = np.array([tree.total, np.nextafter(tree.total, 0.0), tree.total + 1e-9])
    assert (tree.find(points) < 10).all()


def test_of_a_position_that_occurs_twice_the_last_weight_counts():
    tree = SumTree(4)
    tree.set(np.array([2, 2]), np.array([5.0, 1.0]))
    assert tree.total == 1.0


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("capacity", [1, 15, 16, 17, 300, 5_000])
def test_in_c_it_is_numpys_tree_to_the_last_bit(capacity):
    quick, plain = SumTree(capacity), SumTree(capacity)
    assert quick.quick is not None
    plain.quick = None
    rng = np.random.default_rng(capacity)
    for turn in range(60):
        rows = rng.integers(capacity, size=40)
        weights = rng.random(40) ** 9 * 10.0 ** rng.integers(-8, 8, 40) * (rng.random(40) > 0.2)
        for tree in (quick, plain):
            tree.set(rows, weights if turn % 7 else 0.25)
        for mine, theirs in zip(quick.levels, plain.levels, strict=True):
            assert np.array_equal(mine, theirs)
        edges = np.concatenate([rng.random(50), [0.0, 1.0, 1.0 + 1e-15]]) * quick.total
        assert np.array_equal(quick.find(edges), plain.find(edges))


@pytest.mark.parametrize("in_c", [False, True])
def test_weights_that_are_none_are_no_way_out_of_the_tree(in_c):
    tree = SumTree(300)
    if not in_c:
        tree.quick = None
    tree.set(np.arange(300), np.full(300, np.nan))
    with pytest.raises(IndexError):
        tree.find(np.array([0.5]))
