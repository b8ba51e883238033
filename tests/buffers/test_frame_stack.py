"""Packed pixel columns: hand-worked cases, random episodes, rows that cannot be packed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl_cli.buffers import frame_stack


def stack(*numbers, size=2):
    """uint8 (C, H, W); each channel has one value."""
    return np.stack([np.full((size, size), number, np.uint8) for number in numbers])


def table(*rows):
    """Columns of (obs, next_obs) rows."""
    obs, next_obs = zip(*rows, strict=True)
    reward = np.arange(len(rows), dtype=np.float32)
    return {"obs": np.stack(obs), "next_obs": np.stack(next_obs), "reward": reward}


def values(array):
    """The value of each channel of (R, C, H, W)."""
    return array[:, :, 0, 0].tolist()


def assert_same(rows, other):
    assert rows.keys() == other.keys()
    for name, column in rows.items():
        assert (column.dtype, column.shape) == (other[name].dtype, other[name].shape)
        assert column.tobytes() == other[name].tobytes()


EPISODES = table(  # two frames to an observation; an episode of three steps, then another
    (stack(1, 1), stack(1, 2)),
    (stack(1, 2), stack(2, 3)),
    (stack(2, 3), stack(3, 4)),
    (stack(7, 7), stack(7, 8)),
)


def test_each_frame_is_stored_once():
    packed = frame_stack.pack(EPISODES, 1)
    assert values(packed["obs_whole"]) == [[1, 1], [7, 7]]
    assert values(packed["next_obs_whole"]) == []
    assert values(packed["next_obs_frame"]) == [[2], [3], [4], [8]]
    assert packed["derived"].tolist() == [2, 3, 3, 2]
    assert packed["lag"] == 1
    assert_same(frame_stack.unpack(packed), EPISODES)


def test_rows_of_several_envs_are_interleaved():
    ours = [(stack(1, 1), stack(1, 2)), (stack(1, 2), stack(2, 3)), (stack(2, 3), stack(3, 4))]
    theirs = [(stack(5, 5), stack(5, 6)), (stack(5, 6), stack(6, 7)), (stack(6, 7), stack(7, 8))]
    rows = table(*(row for pair in zip(ours, theirs, strict=True) for row in pair))
    packed = frame_stack.pack(rows, 2)
    assert packed["derived"].tolist() == [2, 2, 3, 3, 3, 3]
    assert values(packed["obs_whole"]) == [[1, 1], [5, 5]]
    assert_same(frame_stack.unpack(packed), rows)


def test_row_that_cannot_be_derived_is_stored_whole():
    """A single byte of next_obs differs."""
    rows = {name: column.copy() for name, column in EPISODES.items()}
    rows["next_obs"][1, 0, 1, 1] += 1  # neither derived from obs nor equal to the following obs
    packed = frame_stack.pack(rows, 1)
    assert packed["derived"].tolist() == [2, 1, 2, 2]
    assert values(packed["next_obs_whole"]) == [[2, 3]]
    assert_same(frame_stack.unpack(packed), rows)


def test_frames_of_several_channels():
    rows = table(
        (stack(1, 2, 3, 4, 5, 6), stack(4, 5, 6, 7, 8, 9)),
        (stack(4, 5, 6, 7, 8, 9), stack(7, 8, 9, 1, 2, 3)),
    )
    packed = frame_stack.pack(rows, 1)
    assert values(packed["next_obs_frame"]) == [[7, 8, 9], [1, 2, 3]]
    assert_same(frame_stack.unpack(packed), rows)


def test_observations_of_one_frame():
    rows = table((stack(1), stack(2)), (stack(2), stack(3)), (stack(9), stack(8)))
    packed = frame_stack.pack(rows, 1)
    assert values(packed["obs_whole"]) == [[1], [9]]
    assert values(packed["next_obs_frame"]) == [[2], [3], [8]]
    assert_same(frame_stack.unpack(packed), rows)


def test_vectors_are_not_packed():
    rows = {"obs": np.ones((3, 4), np.float32), "next_obs": np.ones((3, 4), np.float32)}
    assert frame_stack.pack(rows, 1) is rows
    assert frame_stack.unpack(rows) is rows


@given(
    ends=st.lists(st.booleans(), min_size=1, max_size=40),
    num_envs=st.integers(1, 3),
    depth=st.sampled_from([1, 2, 4]),
    colors=st.sampled_from([1, 3]),
    start=st.integers(0, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_unpack_inverts_pack_for_random_episodes(ends, num_envs, depth, colors, start, seed):
    """Starts within a step of the envs, wraps anywhere; few pixel values, so that frames repeat."""
    rng, rows = np.random.default_rng(seed), []

    def frame():
        return rng.integers(0, 3, (colors, 1, 2), dtype=np.uint8)

    stacks = [[frame()] * depth for _ in range(num_envs)]
    for i, end in enumerate(ends):
        env = i % num_envs
        moved = [*stacks[env][1:], frame()]
        rows.append((np.concatenate(stacks[env]), np.concatenate(moved)))
        stacks[env] = [frame()] * depth if end else moved
    cut = start % len(rows)
    wrapped = table(*rows[cut:], *rows[:cut])
    assert_same(frame_stack.unpack(frame_stack.pack(wrapped, num_envs)), wrapped)


def test_four_stacked_frames_take_an_eighth():
    frames = np.random.default_rng(0).integers(0, 256, (104, 8, 8), dtype=np.uint8)
    rows = table(*((frames[i : i + 4], frames[i + 1 : i + 5]) for i in range(100)))
    packed = frame_stack.pack(rows, 1)
    kept, before = (packed["next_obs_frame"].nbytes, rows["obs"].nbytes + rows["next_obs"].nbytes)
    assert kept == before // 8
    assert packed["obs_whole"].shape == (1, 4, 8, 8)


@pytest.mark.parametrize(
    "change",
    [
        {"lag": np.array(0)},
        {"lag": np.array(-1)},
        {"derived": np.array([3, 3, 3, 2], np.uint8)},  # the first row has no row before it
        {"derived": np.array([2, 3, 3, 2, 2], np.uint8)},
        {"obs_whole": EPISODES["obs"][:1]},
        {"next_obs_frame": EPISODES["obs"][:3, :1]},
    ],
)
def test_inconsistent_columns_raise(change):
    with pytest.raises(ValueError, match="frames"):
        frame_stack.unpack(frame_stack.pack(EPISODES, 1) | change)
