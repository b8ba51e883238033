"""State as JSON and arrays: round trips and the layout of the safetensors file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rl_cli.storage.serialization import as_safetensors, pack, unpack
from tests.storage.checkpoints import (
    same,
)


def through_files(state):
    tree, arrays, pieces = pack(state)
    text, data = json.dumps(tree), b"".join(as_safetensors(arrays))
    return unpack(json.loads(text), safetensors.numpy.load(data), lambda name: pieces[name]())


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        None,
        True,
        2**127 + 1,
        -0.1,
        float("inf"),
        "text",
        np.array(3.5),  # no dimension
        np.zeros((0, 3), np.float32),  # no rows, as of an episode that has just started
        np.array([True, False, True]),
        np.array([2**62, -1]),
        np.array([[1, 2], [3, 4]], np.uint8),
        np.array([np.nan, np.inf, -0.0]),
    ],
    ids=repr,
)
def test_state_of_any_type_round_trips(value):
    nested = {"a": value, "b": [value, {"c": [value]}]}
    assert same(through_files(nested), nested)


def test_safetensors_file_is_aligned_without_gaps():
    arrays = {"a": np.zeros(3, np.uint8), "b": np.arange(2.0), "c": np.ones((2, 1), np.float32)}
    data = b"".join(as_safetensors(arrays))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0
    assert {k: v["data_offsets"] for k, v in header.items()} == {
        "b": [0, 16],
        "c": [16, 24],
        "a": [24, 27],
    }
    assert len(data) == 8 + size + 27
    assert same(safetensors.numpy.load(data), {k: arrays[k] for k in header})


def test_transposed_array_round_trips():
    array = np.arange(6).reshape(2, 3).T
    assert through_files({"a": array})["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_unpack_returns_arrays_for_tensors_lists_for_tuples_numbers_for_scalars():
    state = {
        "moment": torch.arange(4, dtype=torch.float32, requires_grad=True).reshape(2, 2),
        "flag": torch.tensor([True, False]),
        "pair": (1, np.float64(0.5)),
        "count": np.int64(3),
        "done": np.bool_(True),
    }
    expected = {
        "moment": np.array([[0, 1], [2, 3]], np.float32),
        "flag": np.array([True, False]),
        "pair": [1, 0.5],
        "count": 3,
        "done": True,
    }
    assert same(through_files(state), expected)


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**130), 2**130)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.lists(st.integers(0, 255), max_size=4).map(lambda v: np.array(v, np.uint8))
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab.01", max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
@example({"a": [np.array([1])], "a.0": np.array([2])})
@settings(deadline=None)
def test_any_tree_round_trips(tree):
    """Including a key with a dot, which equals the path of another array."""
    assert same(through_files({"state": tree}), {"state": tree})
