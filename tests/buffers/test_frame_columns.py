"""Replay with pooled frames: equal to replay of whole observations, with each frame stored once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rl_cli.buffers.frame_columns import FrameColumns
from rl_cli.buffers.memory_check import EXTRA, frame_row_bytes
from rl_cli.buffers.n_step import Lookahead
from rl_cli.buffers.prioritized import PrioritizedReplay
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.core import memory
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, EnvSpec, Experience, Transition
from tests.buffers.test_replay import assert_same, through_a_checkpoint

CPU = torch.device("cpu")


def pixel_spec(num_envs=1, depth=2, channels=1, size=3, pooled=True):
    action = ActionSpec("discrete", (), (5,))
    shape = (depth * channels, size, size)
    return EnvSpec(shape, "uint8", action, num_envs, channels if pooled else 0)


class FrameEnvs:
    """Random frames of `values` different pixel values; an episode starts with k equal frames.

    Args:
        end: probability that a step ends the episode.

    """

    def __init__(self, spec, seed, end, values=256):
        self.spec, self.rng, self.end, self.values = spec, np.random.default_rng(seed), end, values
        self.stacks = [self.first() for _ in range(spec.num_envs)]
        self.count = 0

    def frame(self):
        shape = (self.spec.frame_channels, *self.spec.obs_shape[1:])
        return self.rng.integers(0, self.values, shape, dtype=np.uint8)

    def first(self):
        return [self.frame()] * (self.spec.obs_shape[0] // self.spec.frame_channels)

    def step(self, n):
        """A transition of the first n envs."""
        obs, next_obs, ends = [], [], []
        for i in range(n):
            stack, moved = self.stacks[i], [*self.stacks[i][1:], self.frame()]
            obs.append(np.concatenate(stack)), next_obs.append(np.concatenate(moved))
            ends.append(self.rng.random() < self.end)
            self.stacks[i] = self.first() if ends[-1] else moved
        numbers = np.arange(self.count, self.count + n)
        self.count += n
        terminated = np.array(ends) & (self.rng.random(n) < 0.5)
        return Transition(
            np.stack(obs),
            numbers % 5,
            numbers.astype(np.float32),
            np.stack(next_obs),
            terminated,
            np.array(ends) & ~terminated,
        )


def make_pair(kind, capacity, spec, n_step=1, sarsa=False):
    """A buffer with pooled frames and one with whole observations."""
    buffers = []
    for each in (spec, spec._replace(frame_channels=0)):
        gatherer = Lookahead(n_step, 0.9, sarsa, each) if n_step > 1 or sarsa else None
        if kind == "uniform":
            buffers.append(ReplayBuffer(capacity, each, CPU, gatherer))
        else:
            sort_every = 7 if kind == "softmax" else 0
            replay = PrioritizedReplay(capacity, each, CPU, gatherer, kind, 0.6, sort_every)
            buffers.append(replay)
    return buffers


def assert_consistent(buffer):
    """Each reference count is the number of uses; free frames have none."""
    columns, n = buffer.columns, buffer.size
    counts = np.zeros(len(columns.references), int)
    for indices in (columns.arrays.obs[:n], columns.arrays.next_obs[:n]):
        np.add.at(counts, indices, 1)
    for lane in columns.lanes:
        for indices in (*(found for _, found in lane.stacks), list(lane.frames.values())):
            np.add.at(counts, np.array(indices, int), 1)
    assert counts.tolist() == list(columns.references)
    assert len(set(columns.free)) == len(columns.free)
    assert set(columns.free) == set(np.flatnonzero(counts[1 : columns.used] == 0) + 1)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["uniform", "proportional", "softmax"]),
    capacity=st.integers(1, 30),
    num_envs=st.integers(1, 3),
    depth=st.sampled_from([1, 2, 4]),
    channels=st.sampled_from([1, 3]),
    n_step=st.sampled_from([1, 1, 2, 5]),
    sarsa=st.booleans(),
    end=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    values=st.sampled_from([1, 2, 256]),
    saves=st.integers(-1, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_batches_equal_those_of_whole_observations(
    kind, capacity, num_envs, depth, channels, n_step, sarsa, end, values, saves, seed
):
    """Any episode ends, wraps, sorts, steps of fewer envs, repeated frames, and a resume."""
    spec = pixel_spec(num_envs, depth, channels, size=2)
    envs = FrameEnvs(spec, seed, end, values)
    pair = make_pair(kind, capacity, spec, n_step, sarsa)
    rng = np.random.default_rng(seed)
    for step in range(60):
        transition = envs.step(int(rng.integers(1, num_envs + 1)) if step % 6 == 5 else num_envs)
        for buffer in pair:
            buffer.add(transition)
        if step == saves:
            fresh = make_pair(kind, capacity, spec, n_step, sarsa)
            for old, new in zip(pair, reversed(fresh), strict=True):  # each reads the other's files
                new.load_state_dict(through_a_checkpoint(old.state_dict()))
            pair = fresh
        if pair[0].size == 0 or step % 3:
            continue
        draws = [b.sample(4, np.random.default_rng(step), 2) for b in pair]
        assert draws[0].positions.tolist() == draws[1].positions.tolist()
        assert_same(*(draw.gather(CPU) for draw in draws))
        if kind != "uniform":
            priority = rng.random(4).astype(np.float32) * 5
            for buffer, draw in zip(pair, draws, strict=True):
                buffer.update_priorities(draw.positions[0].numpy(), priority)
    assert_consistent(pair[0])


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3, 10])
def test_each_frame_is_stored_once(depth, num_envs, n_step):
    """Per row one frame, per episode of 50 steps one more, plus recent frames of each env."""
    spec = pixel_spec(num_envs, depth)
    buffer, _ = make_pair("uniform", 600, spec, n_step)
    envs = FrameEnvs(spec, 0, end=0.02)
    for _ in range(900):
        buffer.add(envs.step(num_envs))
    columns = buffer.columns
    assert buffer.size == 600
    in_rows = {*columns.arrays.obs.flatten(), *columns.arrays.next_obs.flatten()}
    # rows whose next_obs is n steps ahead refer to the frames of n more steps of each env
    assert len(in_rows) <= 600 + 1.6 * 600 / 50 * (1 if n_step == 1 else 2) + num_envs * (
        depth + n_step
    )
    used = columns.used - 1 - len(columns.free)
    assert used <= len(in_rows) + sum(lane.size for lane in columns.lanes) + 2 * depth * num_envs
    assert len(columns.grown) == 0


def test_pool_grows_with_episodes_of_one_step():
    """Two frames per row exceed the pool of one frame per row; all rows stay exact."""
    spec = pixel_spec(depth=4)
    pair = make_pair("uniform", 3_000, spec)
    envs = FrameEnvs(spec, 0, end=1.0)
    held = None
    for _ in range(3_000):
        transition = envs.step(1)
        for buffer in pair:
            buffer.add(transition)
        held = held or pair[0].sample(8, np.random.default_rng(0))
    assert len(pair[0].columns.grown) >= 2 * 3_000 - 3_000 * (1 + 1 / EXTRA) - 100
    assert_same(*(b.sample(3_000, np.random.default_rng(1)).gather(CPU) for b in pair))
    assert pair[0].sample(8, np.random.default_rng(0)) is not held  # tables of before the growth
    state = [through_a_checkpoint(b.state_dict()) for b in pair]
    fresh = make_pair("uniform", 3_000, spec)
    for buffer, each in zip(fresh, reversed(state), strict=True):
        buffer.load_state_dict(each)
    assert_same(*(b.sample(3_000, np.random.default_rng(1)).gather(CPU) for b in fresh))


def test_sample_after_the_pool_grew_uses_the_new_table():
    spec = pixel_spec(depth=1)
    buffer, plain = make_pair("uniform", 100, spec)
    envs = FrameEnvs(spec, 0, end=1.0)
    for _ in range(100):
        transition = envs.step(1)
        buffer.add(transition), plain.add(transition)
        draws = [b.sample(20, np.random.default_rng(3)).gather(CPU) for b in (buffer, plain)]
        assert_same(*draws)
    assert len(buffer.columns.grown) > 0


@pytest.mark.parametrize("num_envs", [1, 4])
def test_checkpoint_has_each_frame_once(num_envs):
    """Format of frame_stack: one frame per row, whole observations only where a piece starts."""
    spec = pixel_spec(num_envs, depth=4)
    buffer, plain = make_pair("uniform", 200, spec)
    envs = FrameEnvs(spec, 0, end=0.0)
    for _ in range(70):
        transition = envs.step(num_envs)
        buffer.add(transition), plain.add(transition)
    ours, theirs = (b.state_dict()["rows"] for b in (buffer, plain))
    for mine, other in zip(ours.parts(), theirs.parts(), strict=True):
        packed, expected = mine(), other()
        assert packed.keys() == expected.keys()
        for name, column in packed.items():
            assert column.dtype == expected[name].dtype
            assert np.array_equal(column, expected[name]), name
        size = sum(column.nbytes for column in packed.values())
        assert size <= sum(column.nbytes for column in mine.rows.values()) + 9


def test_memory_check_counts_one_frame_per_row(monkeypatch):
    """84x84x4: a million transitions fit into 7.5 GB; the other fields take 20 bytes of each."""
    spec = pixel_spec(depth=4, size=84)
    assert frame_row_bytes(spec) == 7_060 + 111 + 2 * 4 * 4 + 20  # 111: a 64th frame, rounded up
    assert frame_row_bytes(spec) * 1_000_000 < 7.25e9
    assert frame_row_bytes(spec, Experience) == frame_row_bytes(spec) + 12
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 100 * frame_row_bytes(spec))
    ReplayBuffer(100, spec, CPU)
    with pytest.raises(BadInput, match="buffer_size=100"):
        ReplayBuffer(101, spec, CPU)


def test_memory_of_the_arrays_is_what_is_counted():
    spec = pixel_spec(depth=4, size=84)
    columns = FrameColumns(2_000, spec)
    rows = sum(column.nbytes for column in columns.arrays)
    pool = columns.frames.nbytes + 4 * len(columns.references)
    slack = 30 * 7_060  # recent frames of the env
    assert 0 <= rows + pool - 2_000 * frame_row_bytes(spec) + slack < 2 * slack
