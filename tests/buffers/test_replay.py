import numpy as np
import pytest
import torch

from rl_cli.buffers.columns import row_bytes
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.buffers.rollout import EpisodeBuffer, RolloutBuffer
from rl_cli.core.types import ActionSpec, Batch, EnvSpec, Transition
from rl_cli.storage.serialization import pack, unpack

CPU = torch.device("cpu")


def spec(num_envs, obs_shape=(2,), obs_dtype="float32"):
    return EnvSpec(obs_shape, obs_dtype, ActionSpec("discrete", (), (5,)), num_envs)


def transition(*ids, terminated=(), truncated=()):
    """A row per env; all fields of a row follow from its id."""
    numbers = np.array(ids)
    return Transition(
        obs=np.stack([numbers, -numbers], axis=-1).astype(np.float32),
        action=numbers % 5,
        reward=numbers.astype(np.float32),
        next_obs=np.stack([numbers + 0.5, -numbers], axis=-1).astype(np.float32),
        terminated=np.isin(numbers, terminated),
        truncated=np.isin(numbers, truncated),
    )


def assert_rows_belong_together(batch):
    numbers = batch.reward
    torch.testing.assert_close(batch.obs, torch.stack([numbers, -numbers], dim=-1))
    torch.testing.assert_close(batch.next_obs, torch.stack([numbers + 0.5, -numbers], dim=-1))
    assert torch.equal(batch.action, numbers.long() % 5)


def sampled(buffer, seed=0):
    """Ids of all rows that can be drawn: 500 draws miss one of 10 with probability 1e-22."""
    batch = buffer.sample(500, np.random.default_rng(seed)).gather(CPU)
    assert_rows_belong_together(batch)
    return set(batch.reward.long().tolist())


def through_a_checkpoint(state):
    tree, arrays, pieces = pack(state)
    return unpack(tree, arrays, lambda name: pieces[name]())


def assert_same(batch, other):
    for ours, theirs in zip(batch, other, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_replay_samples_only_rows_that_were_written():
    buffer = ReplayBuffer(100, spec(1), CPU)
    for number in (1, 2, 3):
        buffer.add(transition(number))
    assert sampled(buffer) == {1, 2, 3}


def test_replay_of_one_env_keeps_the_newest_rows():
    buffer = ReplayBuffer(3, spec(1), CPU)
    for number in range(8):
        buffer.add(transition(number))
    assert sampled(buffer) == {5, 6, 7}


def test_replay_keeps_the_newest_rows_when_a_write_wraps():
    buffer = ReplayBuffer(5, spec(2), CPU)
    buffer.add(transition(0, 1))
    buffer.add(transition(2, 3))
    assert sampled(buffer) == {0, 1, 2, 3}
    buffer.add(transition(4, 5))  # the fifth row, and the first again
    assert sampled(buffer) == {1, 2, 3, 4, 5}
    buffer.add(transition(6, 7))
    assert sampled(buffer) == {3, 4, 5, 6, 7}


def test_replay_smaller_than_one_step_keeps_its_last_rows():
    buffer = ReplayBuffer(3, spec(5), CPU)
    buffer.add(transition(0, 1, 2, 3, 4))
    assert sampled(buffer) == {2, 3, 4}
    buffer.add(transition(5))
    assert sampled(buffer) == {3, 4, 5}


def test_replay_accepts_a_step_of_fewer_envs():
    buffer = ReplayBuffer(10, spec(3), CPU)
    buffer.add(transition(0, 1, 2))
    buffer.add(transition(3, 4))
    assert sampled(buffer) == {0, 1, 2, 3, 4}


def test_replay_draws_uniformly():
    buffer = ReplayBuffer(4, spec(4), CPU)
    buffer.add(transition(0, 1, 2, 3))
    rows = buffer.sample(20_000, np.random.default_rng(0)).gather(CPU).reward.long()
    # binomial with p = 1/4: std sqrt(20000 * 1/4 * 3/4) = 61; 4.5 of them
    counts = torch.bincount(rows, minlength=4)
    assert (counts - 5000).abs().max() <= 276


def test_replay_draws_are_reproducible_from_their_stream():
    buffer = ReplayBuffer(10, spec(5), CPU)
    buffer.add(transition(0, 1, 2, 3, 4))
    first, again, other = (
        buffer.sample(20, np.random.default_rng(seed)).gather(CPU).reward.tolist()
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_replay_batch_has_float_flags_and_uint8_pixels():
    pixels = spec(2, (1, 2, 2), "uint8")
    frames = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2) + 248
    buffer = ReplayBuffer(2, pixels, CPU)
    buffer.add(
        transition(0, 1, terminated=[1], truncated=[0])._replace(obs=frames, next_obs=frames)
    )
    batch = buffer.sample(50, np.random.default_rng(0)).gather(CPU)
    assert batch.obs.dtype == torch.uint8
    assert batch.obs[batch.reward == 1.0][0].flatten().tolist() == [252, 253, 254, 255]
    assert torch.equal(batch.terminated, batch.reward)  # row 1 terminated, row 0 was truncated
    assert torch.equal(batch.truncated, 1.0 - batch.reward)


def test_gathered_batch_is_unchanged_when_its_rows_are_overwritten():
    buffer = ReplayBuffer(1, spec(1), CPU)
    buffer.add(transition(1))
    batch = buffer.sample(1, np.random.default_rng(0)).gather(CPU)
    buffer.add(transition(2))
    assert batch.reward.tolist() == [1.0]
    assert batch.obs.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("steps", [2, 4])  # partly filled; full and wrapped
def test_replay_resumes_identically(steps):
    first, second = (ReplayBuffer(5, spec(2), CPU) for _ in range(2))
    for number in range(steps):
        first.add(transition(2 * number, 2 * number + 1))
    second.load_state_dict(through_a_checkpoint(first.state_dict()))
    for buffer in (first, second):
        buffer.add(transition(20, 21))
    assert sampled(first) == sampled(second)
    assert_same(*(b.sample(50, np.random.default_rng(1)).gather(CPU) for b in (first, second)))


def test_rollout_is_full_after_its_length_with_time_as_first_axis():
    buffer = RolloutBuffer(3, spec(2), CPU)
    seen = []
    for step in range(3):
        buffer.add(transition(10 * step, 10 * step + 1, terminated=[11], truncated=[20]))
        seen.append(buffer.full)
    assert seen == [False, False, True]
    batch = buffer.batch()
    assert batch.reward.tolist() == [[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]]
    assert batch.terminated.tolist() == [[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert batch.truncated.tolist() == [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    assert_rows_belong_together(batch)


def test_cleared_rollout_is_refilled():
    buffer = RolloutBuffer(2, spec(1), CPU)
    for number in (1, 2):
        buffer.add(transition(number))
    buffer.clear()
    assert not buffer.full
    buffer.add(transition(3))
    assert not buffer.full
    buffer.add(transition(4))
    assert buffer.full
    assert buffer.batch().reward.tolist() == [[3.0], [4.0]]


def test_step_of_fewer_envs_clears_a_rollout():
    """Rows before and after a step that some envs miss are not consecutive."""
    buffer = RolloutBuffer(2, spec(3), CPU)
    buffer.add(transition(0, 1, 2))
    buffer.add(transition(3, 4))
    buffer.add(transition(5, 6, 7))
    assert not buffer.full
    buffer.add(transition(8, 9, 10))
    assert buffer.batch().reward.tolist() == [[5.0, 6.0, 7.0], [8.0, 9.0, 10.0]]


def test_partly_filled_rollout_resumes_identically():
    first, second = (RolloutBuffer(3, spec(2), CPU) for _ in range(2))
    first.add(transition(0, 1, terminated=[1]))
    first.add(transition(2, 3))
    second.load_state_dict(through_a_checkpoint(first.state_dict()))
    assert not second.full
    for buffer in (first, second):
        buffer.add(transition(4, 5))
    assert second.full
    assert_same(first.batch(), second.batch())


def play(buffer, first, *ends):
    """Step `len(ends)` times; env i's reward at step t is 10 t + i; envs `ends[t]` terminate."""
    width = len(buffer.open)
    for t, ended in enumerate(ends, start=first):
        buffer.add(
            transition(*(10 * t + i for i in range(width)), terminated=[10 * t + i for i in ended])
        )


def rewards(buffer):
    return [episode.reward.tolist() for episode in buffer.episodes()]


def test_episodes_are_whole_and_equally_many_from_each_env():
    buffer = EpisodeBuffer(2, spec(2), CPU)
    play(buffer, 0, [], [0], [1], [0])
    assert not buffer.full  # env 1 has finished only one
    play(buffer, 4, [1])
    assert buffer.full
    # env 0: steps 0-1 and 2-3; env 1: steps 0-2 and 3-4
    assert rewards(buffer) == [[0.0, 10.0], [20.0, 30.0], [1.0, 11.0, 21.0], [31.0, 41.0]]
    for episode in buffer.episodes():
        assert_rows_belong_together(episode)
        assert episode.terminated.tolist() == [0.0] * (len(episode.reward) - 1) + [1.0]
        assert not episode.truncated.any()


def test_truncated_episode_is_complete_and_flagged():
    buffer = EpisodeBuffer(1, spec(1), CPU)
    buffer.add(transition(0))
    buffer.add(transition(1, truncated=[1]))
    (episode,) = buffer.episodes()
    assert buffer.full
    assert episode.truncated.tolist() == [0.0, 1.0]
    assert episode.terminated.tolist() == [0.0, 0.0]


def test_further_episodes_of_an_env_with_enough_are_not_recorded():
    buffer = EpisodeBuffer(1, spec(2), CPU)
    play(buffer, 0, [0], [0], [0, 1])
    assert buffer.full
    assert rewards(buffer) == [[0.0], [1.0, 11.0, 21.0]]


def test_episode_running_at_clear_is_dropped_and_the_next_is_recorded():
    buffer = EpisodeBuffer(1, spec(2), CPU)
    play(buffer, 0, [0], [1])  # env 0 is in its second episode
    assert buffer.full
    buffer.clear()
    assert not buffer.full
    assert buffer.episodes() == []
    play(buffer, 2, [], [0])  # env 0 ends the episode that started at step 1, with older weights
    assert rewards(buffer) == []
    play(buffer, 4, [0, 1])
    assert buffer.full
    # env 0 records from step 4 on; env 1 was between episodes at clear and records from step 2 on
    assert rewards(buffer) == [[40.0], [21.0, 31.0, 41.0]]


def test_recorded_episode_running_at_clear_is_dropped():
    # cleared before it is full: rows from before the clear must not reappear
    buffer = EpisodeBuffer(1, spec(1), CPU)
    play(buffer, 0, [])
    buffer.clear()
    play(buffer, 1, [0], [], [0])
    assert rewards(buffer) == [[20.0, 30.0]]


def test_step_of_fewer_envs_leaves_other_episodes_open():
    buffer = EpisodeBuffer(1, spec(2), CPU)
    buffer.add(transition(0, 1))
    buffer.add(transition(10, terminated=[10]))
    assert rewards(buffer) == [[0.0, 10.0]]
    buffer.add(transition(20, 21, terminated=[21]))
    assert rewards(buffer) == [[0.0, 10.0], [1.0, 21.0]]


@pytest.mark.parametrize("cleared", [False, True])
def test_episode_buffer_resumes_identically_in_mid_episode(cleared):
    # at the save env 0 has enough episodes, env 1 is in its second, env 2 in its first; after a
    # clear none records before its current episode ends
    first, second = (EpisodeBuffer(2, spec(3), CPU) for _ in range(2))
    play(first, 0, [0], [0, 1], [], [])
    if cleared:
        first.clear()
    second.load_state_dict(through_a_checkpoint(first.state_dict()))
    for buffer in (first, second):
        play(buffer, 4, [2], [0, 1], [0, 1, 2], [0, 1, 2], [1, 2])
        assert buffer.full
    assert len(first.episodes()) == len(second.episodes()) == 6
    for ours, theirs in zip(first.episodes(), second.episodes(), strict=True):
        assert_same(ours, theirs)


def test_resumed_episode_buffer_drops_running_episodes_at_clear():
    first, second = (EpisodeBuffer(1, spec(2), CPU) for _ in range(2))
    play(first, 0, [0], [1])  # as above: env 0 is in its second episode, env 1 between episodes
    second.load_state_dict(through_a_checkpoint(first.state_dict()))
    second.clear()
    play(second, 2, [0], [0, 1])
    assert rewards(second) == [[30.0], [21.0, 31.0]]


@pytest.mark.parametrize(
    ("make", "batches"),
    [
        (
            lambda: ReplayBuffer(4, spec(2), CPU),
            lambda buffer: [buffer.sample(100, np.random.default_rng(0)).gather(CPU)],
        ),
        (lambda: RolloutBuffer(2, spec(2), CPU), lambda buffer: [buffer.batch()]),
        (lambda: EpisodeBuffer(1, spec(2), CPU), lambda buffer: buffer.episodes()),
    ],
    ids=["replay", "rollout", "episodes"],
)
def test_buffers_copy_arrays_that_the_next_step_reuses(make, batches):
    buffer, arrays = make(), transition(3, 4)
    buffer.add(arrays)
    for reused, value in zip(arrays, transition(13, 14, terminated=[13, 14]), strict=True):
        reused[:] = value
    buffer.add(arrays)
    for reused in arrays:
        reused[:] = 0
    found = batches(buffer)
    numbers = {number for batch in found for number in batch.reward.flatten().tolist()}
    assert numbers == {3.0, 4.0, 13.0, 14.0}
    for batch in found:
        assert_rows_belong_together(batch)
        assert torch.equal(batch.terminated, (batch.reward > 10).float())


# Checkpoints in pieces


def small_blocks(capacity=10, block_rows=4, num_envs=1):
    buffer = ReplayBuffer(capacity, spec(num_envs), CPU)
    buffer.block_rows = block_rows
    return buffer


def versions(buffer):
    return buffer.state_dict()["rows"].versions


def test_version_of_a_piece_changes_only_when_its_rows_are_written():
    """Capacity 10 in pieces of rows 0-3, 4-7, 8-9; a version is the number of rows added so far."""
    buffer, found = small_blocks(), {}
    for added in range(1, 26):
        buffer.add(transition(added))
        found[added] = versions(buffer)
    assert found[3] == [3]
    assert found[4] == [4]
    assert found[6] == [4, 6]
    assert found[10] == [4, 8, 10]
    assert found[11] == [11, 8, 10]  # row 0 is overwritten
    assert found[15] == [14, 15, 10]
    assert found[20] == [14, 18, 20]
    assert found[25] == [24, 25, 20]


@pytest.mark.parametrize("num_envs", [1, 3])
def test_equal_versions_mean_equal_rows(num_envs):
    buffer, seen = small_blocks(num_envs=num_envs), {}
    for step in range(40):
        buffer.add(transition(*range(step * num_envs, (step + 1) * num_envs)))
        blocks = buffer.state_dict()["rows"]
        for i, (piece, version) in enumerate(zip(blocks.pieces, blocks.versions, strict=True)):
            rewards = piece["reward"].tolist()
            assert seen.setdefault((i, version), rewards) == rewards
        total = [r for piece in blocks.pieces for r in piece["reward"].tolist()]
        assert total == buffer.columns.arrays.reward[: buffer.size].tolist()


def test_versions_continue_after_a_resume():
    first, second = small_blocks(), small_blocks()
    for number in range(13):
        first.add(transition(number))
    second.load_state_dict(through_a_checkpoint(first.state_dict()))
    for number in range(13, 16):
        first.add(transition(number)), second.add(transition(number))
        assert versions(first) == versions(second)


def test_rows_saved_in_one_piece_load():
    first, second = small_blocks(), small_blocks()
    for number in range(13):
        first.add(transition(number))
    rows = first.columns.filled(10)
    second.load_state_dict({"position": 3, "size": 10, "rows": rows})
    assert sampled(second) == sampled(first)
    first.add(transition(13)), second.add(transition(13))
    assert sampled(second) == sampled(first) == set(range(4, 14))


def test_pieces_are_about_a_megabyte_and_at_most_64():
    row = 2 * spec(1).obs_shape[0] * 4 + 8 + 3 * 4  # bytes
    assert row_bytes(spec(1)) == row
    million = ReplayBuffer(1_000_000, spec(1), CPU)
    assert 1 << 20 <= million.block_rows * row < (1 << 20) + row
    large = ReplayBuffer(100_000_000, spec(1), CPU)
    assert 63 <= large.capacity / large.block_rows <= 64


def pixels(num_envs, steps, seed=0):
    """Steps with two frames per observation and episodes of five steps."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (steps + 2, num_envs, 1, 4, 4), dtype=np.uint8)
    for t in range(steps):
        last = (
            frames[t] if t % 5 == 0 else frames[t - 1]
        )  # the first frame of an episode is repeated
        obs = np.concatenate([last, frames[t]], axis=1)
        next_obs = np.concatenate([frames[t], frames[t + 1]], axis=1)
        numbers = np.arange(num_envs) + t * num_envs
        no = np.zeros(num_envs, bool)
        yield Transition(obs, numbers % 5, numbers.astype(np.float32), next_obs, no, no)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_pixels_are_packed_in_checkpoints_and_restored_exactly(num_envs):
    """Partly filled, full, and wrapped within a step of the envs."""
    first, second = (ReplayBuffer(20, spec(num_envs, (2, 4, 4), "uint8"), CPU) for _ in range(2))
    first.block_rows = second.block_rows = 9
    for t, rows in enumerate(pixels(num_envs, 30)):
        first.add(rows)
        if t in (3, 12, 29):
            pieces = first.state_dict()["rows"]
            kept = [sum(a.nbytes for a in piece().values()) for piece in pieces.parts()]
            plain = [sum(a.nbytes for a in piece.values()) for piece in pieces.pieces]
            assert sum(kept) < 0.75 * sum(plain)
            second.load_state_dict(through_a_checkpoint(first.state_dict()))
            assert_same(
                *(Batch(*(c[: b.size] for c in b.columns.tensors)) for b in (first, second))
            )


def test_pieces_are_released_while_they_are_loaded():
    buffer = small_blocks()
    for number in range(10):
        buffer.add(transition(number))
    state = through_a_checkpoint(buffer.state_dict())
    small_blocks().load_state_dict(state)
    assert state["rows"] == []
