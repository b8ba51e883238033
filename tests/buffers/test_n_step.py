from pathlib import Path

import numpy as np
import pytest

from rl_cli.buffers.n_step import Lookahead
from rl_cli.core.types import ActionSpec, EnvSpec, Transition
from tests.buffers.test_replay import spec, through_a_checkpoint, transition


def gathered(n, steps, gamma=0.5, with_next_action=False, num_envs=1):
    """Experiences of all steps in order; a step is given as arguments of `transition`."""
    lookahead = Lookahead(n, gamma, with_next_action, spec(num_envs))
    found = [lookahead.add(transition(*ids, **ends)) for ids, ends in steps]
    return [rows for rows in found if rows is not None]


def of_one_env(n, *ids, terminated=(), truncated=(), **how):
    """(first id, reward, id of the last step, terminated, truncated, discount, next action)."""
    steps = [((i,), {"terminated": terminated, "truncated": truncated}) for i in ids]
    return [
        (
            int(row.obs[0, 0]),
            float(row.reward[0]),
            row.next_obs[0, 0] - 0.5,
            bool(row.terminated[0]),
            bool(row.truncated[0]),
            float(row.discount[0]),
            int(row.next_action[0]),
        )
        for row in gathered(n, steps, **how)
    ]


def test_n_step_rewards_are_discounted_and_summed():
    """Rewards 1, 2, 3, 4, gamma 1/2: 1 + 2/2 + 3/4 = 2.75 and 2 + 3/2 + 4/4 = 4.5."""
    assert of_one_env(3, 1, 2, 3, 4) == [
        (1, 2.75, 3, False, False, 0.125, -1),
        (2, 4.5, 4, False, False, 0.125, -1),
    ]


def test_termination_ends_the_sum_and_each_step_still_completes_one_experience():
    """Termination at 2, rewards 1, 2 | 3, 4, 5: 1 + 2/2, then 2, then the next episode."""
    assert of_one_env(3, 1, 2, 3, 4, 5, terminated=(2,)) == [
        (1, 2.0, 2, True, False, 0.25, -1),
        (2, 2.0, 2, True, False, 0.5, -1),
        (3, 3 + 4 / 2 + 5 / 4, 5, False, False, 0.125, -1),
    ]


def test_truncated_episode_bootstraps_from_its_end_with_fewer_discounts():
    assert of_one_env(2, 1, 2, 3, 4, truncated=(2,)) == [
        (1, 2.0, 2, False, True, 0.25, -1),
        (2, 2.0, 2, False, True, 0.5, -1),
        (3, 5.0, 4, False, False, 0.25, -1),
    ]


def test_sarsa_includes_the_next_action():
    """Actions are id % 5; -1 where the episode ended."""
    assert of_one_env(1, 1, 2, 3, 4, truncated=(3,), with_next_action=True) == [
        (1, 1.0, 1, False, False, 0.5, 2),
        (2, 2.0, 2, False, False, 0.5, 3),
        (3, 3.0, 3, False, True, 0.5, -1),
    ]
    assert of_one_env(2, 1, 2, 3, 4, with_next_action=True) == [
        (1, 2.0, 2, False, False, 0.25, 3),
        (2, 3.5, 3, False, False, 0.25, 4),
    ]


def test_envs_stay_separate_after_a_step_of_fewer_envs():
    ends = {"terminated": (), "truncated": ()}
    steps = [((1, 11), ends), ((2,), ends), ((3, 12), ends)]
    found = gathered(2, steps, num_envs=2)
    assert [rows.reward.tolist() for rows in found] == [[2.0], [3.5, 17.0]]
    assert [rows.obs[:, 0].tolist() for rows in found] == [[1.0], [2.0, 11.0]]


@pytest.mark.parametrize("with_next_action", [False, True])
def test_lookahead_resumes_identically(with_next_action):
    made = [Lookahead(3, 0.9, with_next_action, spec(2)) for _ in range(2)]
    for number in range(5):
        made[0].add(transition(number, 20 + number, terminated=(2, 23)))
    made[1].load_state_dict(through_a_checkpoint(made[0].state_dict()))
    for number in range(5, 12):
        ours, theirs = (
            lookahead.add(transition(number, 20 + number, terminated=(8,))) for lookahead in made
        )
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a, b)


def test_long_lookahead_uses_memory_only_as_it_fills():
    """n=1000 with 1 MB observations reserves 2 GB, which an unchecked configuration could request."""

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096

    pixels = EnvSpec((4, 500, 500), "uint8", ActionSpec("discrete", (), (2,)), 1)
    before = resident()
    lookahead = Lookahead(1_000, 0.9, False, pixels)
    assert lookahead.steps.arrays.obs.nbytes == 10**9
    assert resident() - before < 50 * 2**20


@pytest.mark.parametrize("with_next_action", [False, True])
@pytest.mark.parametrize("n", [1, 3, 5])
def test_single_env_path_equals_the_path_of_many_envs(n, with_next_action):
    """The scalar path of one env against the numpy path of two envs with the same steps."""
    rng, kind = np.random.default_rng(n), ActionSpec("discrete", (), (4,))
    one, two = (
        Lookahead(n, 0.97, with_next_action, EnvSpec((3,), "float32", kind, envs))
        for envs in (1, 2)
    )
    seen = 0
    for _ in range(300):
        obs, next_obs = rng.normal(size=(2, 1, 3)).astype(np.float32)
        action, reward = rng.integers(4, size=1), rng.normal(size=1).astype(np.float32)
        terminated, truncated = rng.random((2, 1)) < 0.15
        step = Transition(obs, action, reward, next_obs, terminated, truncated)
        found, expected = one.add(step), two.add(Transition(*(np.repeat(x, 2, 0) for x in step)))
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.dtype == theirs.dtype
                assert np.array_equal(ours, theirs[:1])
                assert np.array_equal(ours, theirs[1:])
            seen += int(found.discount[0] < 0.97 ** (n - 1))
    assert n == 1 or seen > 50
