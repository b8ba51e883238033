"""The fast envs equal gymnasium's bit for bit."""

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.envs.fast_classic_control import FAST_ENVS, make_fast

IDS = ["Acrobot-v1", "CartPole-v1", "MountainCar-v0", "Pendulum-v1"]


def bare(env_id, **kwargs):
    return gym.make(env_id, **kwargs).unwrapped


def test_every_fast_env_is_tested():
    assert {type(bare(env_id)) for env_id in IDS} == set(FAST_ENVS)


@pytest.mark.parametrize("env_id", IDS)
def test_thousands_of_steps_are_bit_identical(env_id):
    """State, reward, termination; repeated actions reach walls, goals and maximum velocities."""
    reference, fast = bare(env_id), make_fast(bare(env_id))
    assert type(fast) is not type(reference)
    rng = np.random.default_rng(0)
    expected, _ = reference.reset(seed=5)
    found, _ = fast.reset(seed=5)
    assert np.array_equal(expected, found)
    seen = set()
    for step in range(5_000 if env_id == "Acrobot-v1" else 20_000):
        if step % 7 == 0:
            action = (
                reference.action_space.sample() if rng.random() < 0.5 else chase(env_id, expected)
            )
        expected, reward, terminated, _, _ = reference.step(action)
        found, reward_found, ended, _, _ = fast.step(action)
        row = np.empty_like(expected)
        row[:] = found
        assert np.array_equal(expected, row)
        assert [float(x) for x in reference.state] == list(fast.state)
        assert (float(reward), terminated) == (reward_found, ended)
        seen.add((terminated, *np.sign(np.round(expected, 1)).tolist()))
        if terminated or step % 1_000 == 999:  # the next episode draws from the same generator
            expected, _ = reference.reset()
            assert np.array_equal(expected, fast.reset()[0])
    assert len(seen) > 3


def chase(env_id, obs):
    """An action in the direction of the velocity, which reaches the goal."""
    if env_id == "CartPole-v1":
        return int(obs[2] + obs[3] > 0)
    if env_id == "MountainCar-v0":
        return 2 if obs[1] > 0 else 0
    if env_id == "Acrobot-v1":
        return 2 if obs[4] > 0 else 0
    return np.array([3.0 * np.sign(obs[2])], np.float32)


def test_mountain_car_stops_at_the_wall_and_terminates_at_the_goal():
    reference, fast = bare("MountainCar-v0"), make_fast(bare("MountainCar-v0"))
    reference.reset(seed=0), fast.reset(seed=0)
    for state, action, expected_state in (
        ((-1.18, -0.07), 0, (-1.2, 0.0)),
        ((0.49, 0.06), 2, None),
    ):
        reference.state = fast.state = state
        expected, found = reference.step(action), fast.step(action)
        assert tuple(reference.state) == fast.state
        assert expected[2] == found[2] == (expected_state is None)
        assert expected_state is None or fast.state == expected_state


def test_unsupported_envs_are_returned_unchanged():
    for env in (bare("CartPole-v1", sutton_barto_reward=True), bare("MountainCarContinuous-v0")):
        assert make_fast(env) is env


def test_env_constants_are_used():
    for env_id, kwargs in (
        ("Pendulum-v1", {"g": 3.0}),
        ("MountainCar-v0", {"goal_velocity": 0.05}),
    ):
        reference, fast = bare(env_id, **kwargs), make_fast(bare(env_id, **kwargs))
        reference.reset(seed=1), fast.reset(seed=1)
        for _ in range(150):
            action = chase(
                env_id, reference._get_obs() if env_id == "Pendulum-v1" else reference.state
            )
            expected, found = reference.step(action), fast.step(action)
            assert np.array_equal(expected[0], np.array(found[0], np.float32))
            assert expected[2] == found[2]


@pytest.mark.parametrize("env_id", IDS)
def test_always_finite_only_if_no_action_can_make_it_otherwise(env_id):
    """A NaN torque makes Pendulum return NaN."""
    fast = make_fast(bare(env_id))
    fast.reset(seed=0)
    if env_id == "Pendulum-v1":
        assert not np.isfinite(fast.step(np.array([np.nan], np.float32))[0]).all()
    assert fast.always_finite == (env_id != "Pendulum-v1")
