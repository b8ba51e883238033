import numpy as np
import pytest

from rl_cli.envs.normalization import ObservationNormalizer, RewardNormalizer, RunningMoments


def rows(count=30, width=3, seed=0):
    scale, shift = np.array([1.0, 50.0, 0.01]), np.array([0.0, 200.0, -3.0])
    return np.random.default_rng(seed).normal(size=(count, width)) * scale + shift


def assert_moments_of_rows_and_prior(moments, seen):
    """The prior row of mean 0 and variance 1 equals the values -1 and 1 with weight 1/2 each."""
    ones = np.ones((1, *seen.shape[1:]))
    values = np.concatenate([-ones, ones, seen])
    weights = np.array([0.5, 0.5, *[1.0] * len(seen)])
    mean = np.average(values, axis=0, weights=weights)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-10)
    variance = np.average((values - mean) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-10)
    assert moments.count == 1 + len(seen)


def test_moments_of_one_row():
    # prior and the row 3: mean 3/2; the variances 1 and 0 about means 1.5 away on either side:
    # (1 + 1.5**2 + 0 + 1.5**2) / 2
    moments = RunningMoments((1,))
    moments.update(np.array([[3.0]]))
    assert moments.mean.tolist() == [1.5]
    assert moments.variance.tolist() == [2.75]


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [7, 1, 20, 2]])
def test_moments_do_not_depend_on_the_split_into_updates(sizes):
    seen, moments = rows(), RunningMoments((3,))
    for part in np.split(seen, np.cumsum(sizes)[:-1]):
        moments.update(part)
    assert_moments_of_rows_and_prior(moments, seen)


def test_moments_of_float32_rows_are_summed_in_float64():
    # std 0.5 around 10 000: a float32 sum of squares cannot represent it
    seen = (rows(200, 3)[:, :1] * 0.5 + 1e4).astype(np.float32)
    moments = RunningMoments((1,))
    moments.update(seen)
    assert_moments_of_rows_and_prior(moments, seen.astype(np.float64))


def test_moments_resume_identically():
    first, second = RunningMoments((3,)), RunningMoments((3,))
    first.update(rows(seed=0))
    second.load_state_dict(first.state_dict())
    for moments in (first, second):
        moments.update(rows(seed=1))
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.variance, second.variance)
    assert first.count == second.count == 61


@pytest.mark.parametrize("name", ["mean", "variance"])
def test_loading_moments_of_another_shape_raises_and_changes_nothing(name):
    moments = RunningMoments((3,))
    state = {"mean": np.ones(3), "variance": np.ones(3), "count": 5.0, name: np.ones(4)}
    with pytest.raises(ValueError, match="3"):
        moments.load_state_dict(state)
    assert moments.mean.tolist() == [0.0, 0.0, 0.0]
    assert moments.count == 1.0


def test_observations_are_standardized_and_clipped():
    normalizer = ObservationNormalizer((2,), clip=5.0)
    normalizer.moments.load_state_dict(
        {"mean": np.array([1.0, -2.0]), "variance": np.array([4.0, 0.25]), "count": 10.0}
    )
    # (3 - 1) / 2 = 1 and (-3 + 2) / .5 = -2; (21 - 1) / 2 = 10 and (-7 + 2) / .5 = -10 are clipped
    out = normalizer(np.array([[3.0, -3.0], [21.0, -7.0]], np.float32))
    np.testing.assert_allclose(out, [[1.0, -2.0], [5.0, -5.0]], rtol=1e-6)
    assert out.dtype == np.float32


def test_normalizing_does_not_change_the_statistics():
    normalizer = ObservationNormalizer((3,), clip=10.0)
    normalizer.observe(rows())
    obs = rows(seed=1)
    before, raw = normalizer.moments.state_dict(), obs.copy()
    mean, variance = before["mean"].copy(), before["variance"].copy()
    first = normalizer(obs)
    np.testing.assert_array_equal(normalizer(obs), first)
    np.testing.assert_array_equal(normalizer.moments.mean, mean)
    np.testing.assert_array_equal(normalizer.moments.variance, variance)
    assert normalizer.moments.count == 31
    np.testing.assert_array_equal(obs, raw)  # the input is not written to


def test_discounted_return_restarts_after_an_episode_end():
    normalizer = RewardNormalizer(num_envs=2, gamma=0.5, clip=10.0)
    normalizer(np.array([1.0, 2.0]), np.array([False, True]))
    # env 1 ended with the return 2, which is counted before it is set to 0
    assert_moments_of_rows_and_prior(normalizer.moments, np.array([1.0, 2.0]))
    normalizer(np.array([4.0, 4.0]), np.array([False, False]))
    # env 0: .5 * 1 + 4; env 1 restarted: 4 instead of .5 * 2 + 4
    assert_moments_of_rows_and_prior(normalizer.moments, np.array([1.0, 2.0, 4.5, 4.0]))
    assert normalizer.returns.tolist() == [4.5, 4.0]


def test_rewards_are_divided_by_the_std_without_subtracting_the_mean():
    # prior and returns 1 and 2: mean 1, variance (1 + 1**2 + 0**2 + 1**2) / 3 = 1: so a reward of
    # 2 stays 2; with the mean subtracted it would be 1
    normalizer = RewardNormalizer(num_envs=2, gamma=0.5, clip=10.0)
    scaled = normalizer(np.array([1.0, 2.0]), np.array([False, False]))
    np.testing.assert_allclose(scaled, [1.0, 2.0], rtol=1e-6)
    assert scaled.dtype == np.float32
    # returns .5 + 7 = 7.5 and 1 + 7 = 8 join them: sums over 0, 1, 2, 7.5, 8 are 18.5 and
    # 1 + 1 + 4 + 56.25 + 64 = 126.25, variance 126.25/5 - (18.5/5)**2 = 11.56 = 3.4**2
    scaled = normalizer(np.array([7.0, 7.0]), np.array([False, False]))
    np.testing.assert_allclose(scaled, [7 / 3.4, 7 / 3.4], rtol=1e-6)


def test_rewards_are_clipped_on_both_sides():
    normalizer = RewardNormalizer(num_envs=2, gamma=0.0, clip=1.5)
    # variance of the prior, 8 and -8: (1 + 64 + 64) / 3 = 43; 8 / sqrt(43) = 1.22
    first = normalizer(np.array([8.0, -8.0]), np.array([False, False]))
    np.testing.assert_allclose(first, [8 / 43**0.5, -8 / 43**0.5], rtol=1e-6)
    # a single outlier among n rows is at most sqrt(n) stds: 5 rows allow for more than 1.5
    np.testing.assert_allclose(
        normalizer(np.array([1000.0, 0.0]), np.array([False, False])), [1.5, 0.0]
    )
    np.testing.assert_allclose(
        normalizer(np.array([0.0, -5000.0]), np.array([False, False])), [0.0, -1.5]
    )


def test_step_of_fewer_envs_leaves_other_returns_unchanged():
    normalizer = RewardNormalizer(num_envs=2, gamma=0.5, clip=10.0)
    normalizer(np.array([1.0, 2.0]), np.array([False, False]))
    normalizer(np.array([4.0]), np.array([False]))
    assert normalizer.returns.tolist() == [4.5, 2.0]
    assert normalizer.moments.count == 4


def test_reward_normalizer_resumes_identically():
    rng = np.random.default_rng(0)
    first, second = (RewardNormalizer(2, 0.9, 10.0) for _ in range(2))
    no_end = np.array([False, False])
    for _ in range(5):
        first(rng.normal(size=2), no_end)
    second.load_state_dict(first.state_dict())
    reward = rng.normal(size=2)
    first_scaled = first(reward, no_end)  # fails if the loaded returns are not a copy
    np.testing.assert_array_equal(first_scaled, second(reward, no_end))
    np.testing.assert_array_equal(first.returns, second.returns)


@pytest.mark.parametrize("width", [1, 3, 16])
def test_scalar_path_equals_numpy_path(width):
    """Rows with outliers that are clipped, alternating between both paths."""
    general, quick = (ObservationNormalizer((width,), clip=3.0) for _ in range(2))
    rng, clipped = np.random.default_rng(width), 0
    for step in range(300):
        row = (rng.standard_cauchy((1, width)) * 2.0 + 5.0).astype(np.float32)
        general.observe(row)
        expected = general(row)
        found = quick.update_and_normalize(row)
        assert expected.tobytes() == found.tobytes()
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert general.moments.mean.tobytes() == quick.moments.mean.tobytes()
        assert general.moments.variance.tobytes() == quick.moments.variance.tobytes()
        assert general.moments.count == quick.moments.count
        clipped += bool((np.abs(found) == 3.0).any())
        if step % 50 == 0:
            general.observe(rows(7, 3)[:, :1].repeat(width, 1))
            quick.moments.load_state_dict(general.moments.state_dict())
    assert clipped > 3


def test_scalar_reward_path_equals_numpy():
    """The reference is computed here with numpy, because a second env would change the moments."""
    quick, moments, running = RewardNormalizer(1, 0.9, 3.0), RunningMoments(()), np.zeros(1)
    rng = np.random.default_rng(1)
    for _ in range(300):
        reward, done = rng.standard_cauchy(1) * 4.0, rng.random(1) < 0.1
        running = running * 0.9 + reward
        moments.update(running)
        running[done] = 0.0
        expected = np.clip(reward / np.sqrt(moments.variance + 1e-8), -3.0, 3.0).astype(np.float32)
        assert quick(reward, done).tobytes() == expected.tobytes()
        assert float(quick.moments.variance) == float(moments.variance)
        assert quick.returns.tolist() == running.tolist()


def test_recorded_rewards_are_normalized_as_those_of_one_env_and_included_in_the_statistics():
    """Rewards 3 and 1, then an end, then 2; gamma 0.5: discounted returns 3, 2.5 and 2."""
    rewards = np.array([3.0, 1.0, 2.0], np.float32)
    normalizer = RewardNormalizer(2, 0.5, 10.0)
    scaled = normalizer.recorded(rewards, np.array([False, True, False]))
    moments, stds = RunningMoments(()), []
    for value in (3.0, 2.5, 2.0):
        moments.update(np.array([value]))
        stds.append(np.sqrt(moments.variance + 1e-8))
    assert stds[0] == pytest.approx(2.75**0.5)  # as in test_moments_of_one_row
    np.testing.assert_allclose(scaled, rewards / stds, rtol=1e-6)
    assert scaled.dtype == np.float32
    assert (normalizer.moments.mean, normalizer.moments.count) == (pytest.approx(7.5 / 4), 4)
    assert normalizer.returns.tolist() == [0.0, 0.0]  # of the current episodes
