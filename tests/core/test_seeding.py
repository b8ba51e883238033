import json

import numpy as np
import pytest
import torch

from rl_cli.core.seeding import env_seeds, rng_state, set_rng_state, stream, torch_generator


def draws(rng):
    return rng.random(8).tolist()


def test_streams_are_equal_for_equal_seed_and_name():
    assert draws(stream(3, "explore")) == draws(stream(3, "explore"))


def test_streams_differ_by_name_and_by_seed():
    streams = [stream(seed, name) for seed in (0, 1, 2) for name in ("sample", "replay", "env")]
    assert len({tuple(draws(rng)) for rng in streams}) == 9


def test_stream_is_equal_in_every_process():
    # python's own hash of a name is not; 0xCBF43926 is the published check value of CRC-32
    expected = np.random.default_rng([3, 0xCBF43926])
    assert draws(stream(3, "123456789")) == draws(expected)


def test_stream_is_unaffected_by_draws_from_another():
    ours = stream(0, "sample")
    first = ours.random()
    other = stream(0, "explore")
    other.random(100)
    np.random.default_rng(0).random(100)
    alone = stream(0, "sample")
    assert (first, ours.random()) == (alone.random(), alone.random())


def test_torch_generators_are_equal_for_equal_seed_and_name_only():
    def weights(seed, name):
        return tuple(torch.rand(4, generator=torch_generator(seed, name)).tolist())

    assert weights(5, "init") == weights(5, "init")
    assert len({weights(5, "init"), weights(6, "init"), weights(5, "other")}) == 3


def test_torch_generator_does_not_change_the_global_one():
    before = torch.get_rng_state()
    torch.rand(4, generator=torch_generator(0, "init"))
    assert torch.equal(torch.get_rng_state(), before)


def test_rng_state_restores_the_stream_after_a_json_round_trip():
    rng = stream(0, "explore")
    rng.random(3)
    rng.standard_normal(3)
    rng.integers(10, size=3)  # an odd number: half of a 64-bit draw is kept for the next one
    saved = json.dumps(rng_state(rng))
    expected = [rng.integers(10, size=5).tolist(), draws(rng), rng.standard_normal(5).tolist()]

    resumed = stream(1, "something else")
    resumed.random(11)
    set_rng_state(resumed, json.loads(saved))
    found = [
        resumed.integers(10, size=5).tolist(),
        draws(resumed),
        resumed.standard_normal(5).tolist(),
    ]
    assert found == expected


def test_rng_state_is_unaffected_by_later_draws():
    rng = stream(0, "explore")
    state = rng_state(rng)
    expected = draws(rng)
    set_rng_state(rng, state)
    assert draws(rng) == expected


@pytest.mark.parametrize("state", [{}, {"bit_generator": "MT19937", "state": {}}])
def test_state_of_another_generator_is_refused(state):
    with pytest.raises((ValueError, KeyError, TypeError)):
        set_rng_state(stream(0, "explore"), state)


def test_env_seeds_are_distinct_for_64_envs():
    for run in range(50):
        seeds = env_seeds(run, 64)
        assert len(set(seeds)) == 64
        assert all(type(seed) is int and seed >= 0 for seed in seeds)  # what gymnasium takes


def test_env_seeds_are_equal_for_equal_seed_and_disjoint_for_others():
    assert env_seeds(7, 16) == env_seeds(7, 16)
    assert not set(env_seeds(7, 16)) & set(env_seeds(8, 16))
