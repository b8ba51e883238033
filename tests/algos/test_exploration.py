"""Exploration: epsilon-greedy and the noise of gSDE."""

import numpy as np

from rl_cli.algos.exploration import HeldNoise, epsilon_greedy


def test_epsilon_greedy_frequencies():
    """epsilon = 0.6 of 3 actions, greedy action 0: probabilities 0.4 + 0.2, 0.2, 0.2."""
    rng, count = np.random.default_rng(0), 20_000
    actions = epsilon_greedy(lambda: np.zeros(count, np.int64), count, 3, 0.6, rng)
    frequencies = np.bincount(actions, minlength=3) / count
    np.testing.assert_allclose(frequencies, [0.6, 0.2, 0.2], atol=4.5 * np.sqrt(0.24 / count))


def test_epsilon_greedy_evaluates_network_only_if_needed():
    calls, rng = [], np.random.default_rng(0)

    def greedy():
        calls.append(1)
        return np.full(4, 2, np.int64)

    assert set(epsilon_greedy(greedy, 4, 2, 1.0, rng).tolist()) <= {0, 1}
    assert not calls
    assert epsilon_greedy(greedy, 4, 2, 0.0, rng).tolist() == [2] * 4
    assert len(calls) == 1


def test_held_noise_is_resampled_every_n_steps_and_separate_per_env():
    noise, rng = HeldNoise((2, 3, 1), every=2), np.random.default_rng(0)
    steps = [noise.at_step(2, rng) for _ in range(4)]
    assert np.array_equal(steps[0], steps[1])
    assert np.array_equal(steps[2], steps[3])
    assert not np.array_equal(steps[1], steps[2])
    assert not np.array_equal(steps[0][0], steps[0][1])
    assert noise.at_step(1, rng).shape == (1, 3, 1)


def test_held_noise_without_period_is_resampled_after_reset_only():
    noise, rng = HeldNoise((2, 3, 1), every=None), np.random.default_rng(0)
    first = noise.at_step(2, rng)
    assert all(np.array_equal(noise.at_step(2, rng), first) for _ in range(100))
    noise.reset()
    assert not np.array_equal(noise.at_step(2, rng), first)
