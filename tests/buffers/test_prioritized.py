import numpy as np
import pytest
import torch

from rl_cli.buffers.columns import row_bytes
from rl_cli.buffers.prioritized import MIN_PRIORITY, PrioritizedReplay
from rl_cli.core import memory
from rl_cli.core.errors import BadInput, NonFinite
from tests.buffers.test_replay import spec, through_a_checkpoint, transition

CPU = torch.device("cpu")


def replay(capacity=8, kind="proportional", alpha=1.0, sort_every=0, rows=(), num_envs=1):
    buffer = PrioritizedReplay(capacity, spec(num_envs), CPU, None, kind, alpha, sort_every)
    for number in rows:
        buffer.add(transition(number))
    return buffer


def set_priorities(buffer, *priorities):
    buffer.update_priorities(np.arange(len(priorities)), np.array(priorities, np.float32))


def sampled_shares(buffer, draws=40_000):
    positions = buffer.sample(draws, np.random.default_rng(0)).positions[0].numpy()
    return np.bincount(positions, minlength=buffer.size) / draws


def test_rows_are_drawn_in_proportion_to_their_priority():
    buffer = replay(rows=(1, 2, 3))
    set_priorities(buffer, 1.0, 2.0, 5.0)
    assert sampled_shares(buffer) == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.01)


def test_alpha_is_the_exponent_of_the_priority():
    buffer = replay(alpha=0.5, rows=(1, 2))
    set_priorities(buffer, 1.0, 9.0)
    assert sampled_shares(buffer) == pytest.approx([1 / 4, 3 / 4], abs=0.01)


def test_softmax_weights_are_one_plus_the_priority():
    buffer = replay(kind="softmax", rows=(1, 2, 3))
    set_priorities(buffer, 0.0, 1.0, 6.0)
    symlog = np.log1p([0.0, 1.0, 6.0])
    expected = np.exp(symlog) / np.exp(symlog).sum()
    assert expected == pytest.approx([0.1, 0.2, 0.7])
    assert sampled_shares(buffer) == pytest.approx(expected, abs=0.01)
    assert buffer.importance(np.array([0, 2]), 0.4).tolist() == [1.0, 1.0]


def test_new_row_has_the_largest_priority_so_far():
    buffer = replay(rows=(1, 2))
    set_priorities(buffer, 1.0, 7.0)
    buffer.add(transition(3))
    assert sampled_shares(buffer) == pytest.approx([1 / 15, 7 / 15, 7 / 15], abs=0.01)
    set_priorities(buffer, 1.0, 1.0, 1.0)  # the largest so far stays 7
    buffer.add(transition(4))
    buffer.set_pending()
    assert buffer.priority[3] == 7.0


def test_importance_weights_are_scaled_to_a_maximum_of_one():
    """P = 1/5 and 4/5 of N = 2: (N P)^-1 = 2.5 and 0.625; scaled 1 and 1/4; to the power 1/2: 1/2."""
    buffer = replay(rows=(1, 2))
    set_priorities(buffer, 1.0 - MIN_PRIORITY, 4.0 - MIN_PRIORITY)
    rows = np.array([0, 1, 1])
    assert buffer.importance(rows, 1.0) == pytest.approx([1.0, 0.25, 0.25], rel=1e-5)
    assert buffer.importance(rows, 0.5) == pytest.approx([1.0, 0.5, 0.5], rel=1e-5)
    assert buffer.importance(rows, 0.0).tolist() == [1.0, 1.0, 1.0]


def test_batch_has_one_row_of_each_stratum():
    """Four rows of equal weight and a batch of four: each row is drawn once, for any seed."""
    buffer = replay(rows=(1, 2, 3, 4))
    for seed in range(20):
        positions = buffer.sample(4, np.random.default_rng(seed)).positions
        assert positions.tolist() == [[0, 1, 2, 3]]


def test_overwritten_row_has_the_priority_of_the_new_row():
    buffer = replay(capacity=2, rows=(1, 2))
    set_priorities(buffer, 3.0, 0.0)
    buffer.add(transition(9))  # over row 0
    assert buffer.priority.tolist() == [3.0, 0.0]
    set_priorities(buffer, 0.5)
    assert sampled_shares(buffer) == pytest.approx([1.0, 0.0], abs=0.01)


def test_after_a_sort_the_lowest_priorities_are_overwritten_first():
    buffer = replay(capacity=4, kind="softmax", sort_every=6, rows=(1, 2, 3, 4))
    set_priorities(buffer, 5.0, 0.5, 3.0, 1.0)
    buffer.add(transition(5))  # over row 0, of 5.0, with priority 5
    assert buffer.columns.arrays.reward.tolist() == [5, 2, 3, 4]
    buffer.add(transition(6))  # over row 1, of 0.5; the sixth row: sorted
    assert buffer.columns.arrays.reward.tolist() == [4, 3, 5, 6]
    assert buffer.priority.tolist() == [1.0, 3.0, 5.0, 5.0]
    buffer.add(transition(7))
    assert buffer.columns.arrays.reward.tolist() == [7, 3, 5, 6]


def test_sort_of_a_partly_filled_buffer_keeps_its_end():
    buffer = replay(capacity=4, sort_every=2, rows=(1,))
    set_priorities(buffer, 9.0)
    buffer.add(transition(2))
    buffer.add(transition(3))
    assert buffer.size == 3
    assert sorted(buffer.columns.arrays.reward[:3].tolist()) == [1, 2, 3]
    assert buffer.columns.arrays.reward[2] == 3


def test_sort_changes_the_versions_of_all_pieces():
    buffer = replay(capacity=4, sort_every=8, rows=range(7))
    before = set(buffer.state_dict()["rows"].versions)
    buffer.add(transition(8))
    assert not before & set(buffer.state_dict()["rows"].versions)


@pytest.mark.parametrize("kind", ["proportional", "softmax"])
def test_resumed_replay_draws_the_same_rows(kind):
    rng = np.random.default_rng(3)
    buffer = replay(capacity=50, kind=kind, alpha=0.6, sort_every=30, rows=range(70))
    buffer.update_priorities(rng.integers(50, size=20), rng.random(20).astype(np.float32) * 4)
    other = replay(capacity=50, kind=kind, alpha=0.6, sort_every=30)
    other.load_state_dict(through_a_checkpoint(buffer.state_dict()))
    for number in range(70, 130):
        for each in (buffer, other):
            each.add(transition(number))
        seed = int(rng.integers(1000))
        draws = [each.sample(16, np.random.default_rng(seed)) for each in (buffer, other)]
        rows = [draw.gather(CPU).reward.tolist() for draw in draws]
        assert rows[0] == rows[1]
        priority = rng.random(16).astype(np.float32) * 9
        for each, draw in zip((buffer, other), draws, strict=True):
            each.update_priorities(draw.positions[0].numpy(), priority)
    assert other.max_priority == buffer.max_priority


def test_memory_check_includes_priorities(monkeypatch):
    """36 bytes of a row and 13 of its priority; 1,000 are available: 20 rows."""
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 1_000)
    assert row_bytes(spec(1)) == 36
    replay(capacity=20)
    with pytest.raises(BadInput, match="buffer_size=20"):
        replay(capacity=21)


def test_non_finite_priority_raises_and_leaves_the_tree_unchanged():
    buffer = replay(rows=(1, 2))
    with pytest.raises(NonFinite, match="TD error"):
        set_priorities(buffer, np.nan, 1.0)
    buffer.set_pending()
    assert buffer.tree.total == pytest.approx(2.0, abs=1e-5)


def test_memory_check_includes_the_copy_made_by_a_sort(monkeypatch):
    """36 bytes of a row, 13 of its priority, 8 of an observation; 1,000 are available: 17 rows."""
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 1_000)
    replay(capacity=17, sort_every=5)
    with pytest.raises(BadInput, match="buffer_size=17"):
        replay(capacity=18, sort_every=5)


def test_pending_priorities_equal_immediate_ones():
    """Bit for bit, with a wrapping buffer and priority updates in between."""
    deferred, immediate = replay(capacity=7), replay(capacity=7)
    rng = np.random.default_rng(0)
    for i in range(60):
        deferred.add(transition(i))
        immediate.add(transition(i))
        immediate.set_pending()
        if i % 5 == 4:
            priorities = rng.random(deferred.size).astype(np.float32) * i
            set_priorities(deferred, *priorities)
            set_priorities(immediate, *priorities)
        if i % 9 == 8:
            drawn = [
                b.sample(4, np.random.default_rng(i)).positions.tolist()
                for b in (deferred, immediate)
            ]
            assert drawn[0] == drawn[1]
    deferred.set_pending()
    assert np.array_equal(deferred.priority, immediate.priority)
    for ours, theirs in zip(deferred.tree.levels, immediate.tree.levels, strict=True):
        assert np.array_equal(ours, theirs)
