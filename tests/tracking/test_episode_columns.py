"""Episodes of a checkpoint: the same after a round trip, and small enough to be read again."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest

from rl_cli.core.fields import FEW, Fields, StateError, saved_numbers
from rl_cli.core.types import Episode
from rl_cli.storage.manifest import MAX_STATE_JSON_BYTES
from rl_cli.storage.serialization import pack
from rl_cli.tracking import episode_columns
from tests.storage.test_serialization import through_files

RNG = np.random.default_rng(3)


def episodes(count):
    """Of an env that says some of success and of two values, one with a name full of separators."""
    found = []
    for i in range(count):
        info = {"x": float(RNG.normal())} if i % 3 else {}
        info |= {"a.b/c d": float(i)} if i % 7 == 0 else {}
        success = (None, False, True)[int(RNG.integers(3))]
        found.append(Episode(float(RNG.normal()), int(RNG.integers(1, 500)), success, info))
    return found


@pytest.mark.parametrize("count", [0, 1, episode_columns.FEW, episode_columns.FEW + 1, 3_000])
def test_episodes_are_the_same_after_a_round_trip(count):
    before = episodes(count)
    assert (
        episode_columns.loaded(through_files({"e": episode_columns.saved(before)})["e"]) == before
    )


def test_state_of_a_million_episodes_can_be_read_again():
    many = [Episode(1.0, 1, True, {"x": 0.5, "y": 0.25})] * 1_000_000
    tree, _, _ = pack({"e": episode_columns.saved(many), "w": saved_numbers(deque([0.1] * 10**6))})
    assert len(json.dumps(tree)) < MAX_STATE_JSON_BYTES / 1_000


@pytest.mark.parametrize("count", [0, 3, FEW, FEW + 1])
def test_numbers_are_the_same_after_a_round_trip(count):
    values = deque(RNG.normal(size=count).tolist())
    assert Fields(through_files({"v": saved_numbers(values)})).numbers("v") == list(values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("returns", np.array([np.nan] * 2_000)), ("lengths", np.full(2_000, -1)), ("lengths", np.ones(3, np.int64)),
        ("success", np.full(2_000, 3)), ("names", [1, 2]), ("info_of", np.full(1_619, 2_000)), ("info_name", np.full(1_619, 2)),
        ("info", np.full(1_619, np.inf)), ("info", np.zeros((2, 2))),
    ],
)  # fmt: skip
def test_forged_columns_are_refused(name, value):
    state = episode_columns.saved(episodes(2_000))
    assert len(state["info"]) == 1_619
    with pytest.raises(StateError, match=r"episodes\."):
        episode_columns.loaded({**state, name: value})
