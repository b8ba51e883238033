import numpy as np
import pytest
import torch

from rl_cli.buffers.columns import row_bytes
from rl_cli.buffers.prioritized import LEAST, PrioritizedReplay
from rl_cli.core import memory
from rl_cli.core.errors import BadInput, NonFinite
from tests.buffers.test_replay import spec, through_a_checkpoint, transition

CPU = torch.device("cpu")


def replay(capacity=8, kind="proportional", alpha=1.0, sort_every=0, rows=(), num_envs=1):
    buffer = PrioritizedReplay(capacity, spec(num_envs), CPU, None, kind, alpha, sort_every)
    for number in rows:
        buffer.add(transition(number))
    return buffer


def learned(buffer, *priorities):
    buffer.learned(np.arange(len(priorities)), np.array(priorities, np.float32))


def shares(buffer, draws=40_000):
    positions = buffer.sample(draws, np.random.default_rng(0)).positions[0].numpy()
    return np.bincount(positions, minlength=buffer.size) / draws


def test_rows_come_up_in_proportion_to_their_priority():
    buffer = replay(rows=(1, 2, 3))
    learned(buffer, 1.0, 2.0, 5.0)
    assert shares(buffer) == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.01)


def test_alpha_is_the_power_of_the_priority():
    buffer = replay(alpha=0.5, rows=(1, 2))
    learned(buffer, 1.0, 9.0)
    assert shares(buffer) == pytest.approx([1 / 4, 3 / 4], abs=0.01)


def test_softmax_of_symlog_is_one_plus_the_priority():
    buffer = replay(kind="softmax", rows=(1, 2, 3))
    learned(buffer, 0.0, 1.0, 6.0)
    symlog = np.log1p([0.0, 1.0, 6.0])
    expected = np.exp(symlog) / np.exp(symlog).sum()
    assert expected == pytest.approx([0.1, 0.2, 0.7])
    assert shares(buffer) == pytest.approx(expected, abs=0.01)
    assert buffer.importance(np.array([0, 2]), 0.4).tolist() == [1.0, 1.0]


def test_a_new_row_has_the_largest_priority_so_far():
    buffer = replay(rows=(1, 2))
    learned(buffer, 1.0, 7.0)
    buffer.add(transition(3))
    assert shares(buffer) == pytest.approx([1 / 15, 7 / 15, 7 / 15], abs=0.01)
    learned(buffer, 1.0, 1.0, 1.0)  # what was once the largest is remembered
    buffer.add(transition(4))
    buffer.welcome()
    assert buffer.priority[3] == 7.0


def test_importance_weights_undo_the_choice_and_the_largest_is_one():
    """P = 1/5 and 4/5 of N = 2: (N P)^-1 = 2.5 and 0.625; scaled 1 and 1/4; to the half, 1/2."""
    buffer = replay(rows=(1, 2))
    learned(buffer, 1.0 - LEAST, 4.0 - LEAST)
    rows = np.array([0, 1, 1])
    assert buffer.importance(rows, 1.0) == pytest.approx([1.0, 0.25, 0.25], rel=1e-5)
    assert buffer.importance(rows, 0.5) == pytest.approx([1.0, 0.5, 0.5], rel=1e-5)
    assert buffer.importance(rows, 0.0).tolist() == [1.0, 1.0, 1.0]


def test_a_batch_has_one_row_of_each_stratum():
    """Four rows of equal weight and a batch of four: each comes up once, whatever is drawn."""
    buffer = replay(rows=(1, 2, 3, 4))
    for seed in range(20):
        positions = buffer.sample(4, np.random.default_rng(seed)).positions
        assert positions.tolist() == [[0, 1, 2, 3]]


def test_overwritten_rows_take_the_priority_of_what_is_there_now():
    buffer = replay(capacity=2, rows=(1, 2))
    learned(buffer, 3.0, 0.0)
    buffer.add(transition(9))  # over row 0
    assert buffer.priority.tolist() == [3.0, 0.0]
    learned(buffer, 0.5)
    assert shares(buffer) == pytest.approx([1.0, 0.0], abs=0.01)


def test_sorted_the_least_surprising_are_overwritten_first():
    buffer = replay(capacity=4, kind="softmax", sort_every=6, rows=(1, 2, 3, 4))
    learned(buffer, 5.0, 0.5, 3.0, 1.0)
    buffer.add(transition(5))  # over row 0, of 5.0, with priority 5
    assert buffer.columns.arrays.reward.tolist() == [5, 2, 3, 4]
    buffer.add(transition(6))  # over row 1, of 0.5; the sixth row: sorted
    assert buffer.columns.arrays.reward.tolist() == [4, 3, 5, 6]
    assert buffer.priority.tolist() == [1.0, 3.0, 5.0, 5.0]
    buffer.add(transition(7))
    assert buffer.columns.arrays.reward.tolist() == [7, 3, 5, 6]


def test_a_buffer_that_is_not_full_goes_on_at_its_end_after_sorting():
    buffer = replay(capacity=4, sort_every=2, rows=(1,))
    learned(buffer, 9.0)
    buffer.add(transition(2))
    buffer.add(transition(3))
    assert buffer.size == 3
    assert sorted(buffer.columns.arrays.reward[:3].tolist()) == [1, 2, 3]
    assert buffer.columns.arrays.reward[2] == 3


def test_pieces_saved_before_a_sorting_are_not_taken_for_those_after_it():
    buffer = replay(capacity=4, sort_every=8, rows=range(7))
    before = set(buffer.state_dict()["rows"].versions)
    buffer.add(transition(8))
    assert not before & set(buffer.state_dict()["rows"].versions)


@pytest.mark.parametrize("kind", ["proportional", "softmax"])
def test_replay_goes_on_from_a_checkpoint_with_the_same_draws(kind):
    rng = np.random.default_rng(3)
    buffer = replay(capacity=50, kind=kind, alpha=0.6, sort_every=30, rows=range(70))
    buffer.learned(rng.integers(50, size=20), rng.random(20).astype(np.float32) * 4)
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
            each.learned(draw.positions[0].numpy(), priority)
    assert other.top == buffer.top


def test_what_is_kept_about_a_row_counts_for_memory(monkeypatch):
    """36 bytes of a row and 13 about it, 1,000 to be had: 20 rows."""
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 1_000)
    assert row_bytes(spec(1)) == 36
    replay(capacity=20)
    with pytest.raises(BadInput, match="buffer_size=20"):
        replay(capacity=21)


def test_a_priority_that_is_no_number_ends_the_run_and_spoils_no_tree():
    buffer = replay(rows=(1, 2))
    with pytest.raises(NonFinite, match="TD error"):
        learned(buffer, np.nan, 1.0)
    buffer.welcome()
    assert buffer.tree.total == pytest.approx(2.0, abs=1e-5)


def test_sorting_counts_a_second_copy_of_its_largest_column(monkeypatch):
    """36 bytes of a row, 13 about it, 8 of an observation: 17 rows of 1,000 bytes."""
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 1_000)
    replay(capacity=17, sort_every=5)
    with pytest.raises(BadInput, match="buffer_size=17"):
        replay(capacity=18, sort_every=5)


def test_rows_added_one_by_one_weigh_as_if_each_had_been_told_at_once():
    """To the last bit, round the end of the buffer and across what was learned in between."""
    late, prompt = replay(capacity=7), replay(capacity=7)
    rng = np.random.default_rng(0)
    for i in range(60):
        late.add(transition(i))
        prompt.add(transition(i))
        prompt.welcome()
        if i % 5 == 4:
            priorities = rng.random(late.size).astype(np.float32) * i
            learned(late, *priorities)
            learned(prompt, *priorities)
        if i % 9 == 8:
            drawn = [
                b.sample(4, np.random.default_rng(i)).positions.tolist() for b in (late, prompt)
            ]
            assert drawn[0] == drawn[1]
    late.welcome()
    assert np.array_equal(late.priority, prompt.priority)
    for mine, theirs in zip(late.tree.levels, prompt.tree.levels, strict=True):
        assert np.array_equal(mine, theirs)
