"""The lean twins do what gymnasium's envs do, to the last bit."""

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.envs.fast_classic_control import LEAN, lean

IDS = ["Acrobot-v1", "CartPole-v1", "MountainCar-v0", "Pendulum-v1"]


def bare(env_id, **kwargs):
    return gym.make(env_id, **kwargs).unwrapped


def test_every_twin_is_tested():
    assert {type(bare(env_id)) for env_id in IDS} == set(LEAN)


@pytest.mark.parametrize("env_id", IDS)
def test_thousands_of_steps_are_equal_to_the_last_bit(env_id):
    """State, reward and end; actions in runs, so that walls, goals and top speeds are all met."""
    plain, quick = bare(env_id), lean(bare(env_id))
    assert type(quick) is not type(plain)
    rng = np.random.default_rng(0)
    expected, _ = plain.reset(seed=5)
    found, _ = quick.reset(seed=5)
    assert np.array_equal(expected, found)
    seen = set()
    for step in range(5_000 if env_id == "Acrobot-v1" else 20_000):
        if step % 7 == 0:
            action = plain.action_space.sample() if rng.random() < 0.5 else chase(env_id, expected)
        expected, reward, terminated, _, _ = plain.step(action)
        found, reward_found, ended, _, _ = quick.step(action)
        row = np.empty_like(expected)
        row[:] = found
        assert np.array_equal(expected, row)
        assert [float(x) for x in plain.state] == list(quick.state)
        assert (float(reward), terminated) == (reward_found, ended)
        seen.add((terminated, *np.sign(np.round(expected, 1)).tolist()))
        if terminated or step % 1_000 == 999:  # the next episode comes from the same generator
            expected, _ = plain.reset()
            assert np.array_equal(expected, quick.reset()[0])
    assert len(seen) > 3


def chase(env_id, obs):
    """An action along the velocity, which gathers speed and reaches the goal."""
    if env_id == "CartPole-v1":
        return int(obs[2] + obs[3] > 0)
    if env_id == "MountainCar-v0":
        return 2 if obs[1] > 0 else 0
    if env_id == "Acrobot-v1":
        return 2 if obs[4] > 0 else 0
    return np.array([3.0 * np.sign(obs[2])], np.float32)


def test_the_wall_stops_the_car_and_the_flag_ends_its_episode():
    plain, quick = bare("MountainCar-v0"), lean(bare("MountainCar-v0"))
    plain.reset(seed=0), quick.reset(seed=0)
    for state, action, stands in (((-1.18, -0.07), 0, (-1.2, 0.0)), ((0.49, 0.06), 2, None)):
        plain.state = quick.state = state
        expected, found = plain.step(action), quick.step(action)
        assert tuple(plain.state) == quick.state
        assert expected[2] == found[2] == (stands is None)
        assert stands is None or quick.state == stands


def test_another_reward_and_other_envs_are_left_alone():
    for env in (bare("CartPole-v1", sutton_barto_reward=True), bare("MountainCarContinuous-v0")):
        assert lean(env) is env


def test_constants_given_to_an_env_reach_its_twin():
    for env_id, kwargs in (
        ("Pendulum-v1", {"g": 3.0}),
        ("MountainCar-v0", {"goal_velocity": 0.05}),
    ):
        plain, quick = bare(env_id, **kwargs), lean(bare(env_id, **kwargs))
        plain.reset(seed=1), quick.reset(seed=1)
        for _ in range(150):
            action = chase(env_id, plain._get_obs() if env_id == "Pendulum-v1" else plain.state)
            expected, found = plain.step(action), quick.step(action)
            assert np.array_equal(expected[0], np.array(found[0], np.float32))
            assert expected[2] == found[2]


@pytest.mark.parametrize("env_id", IDS)
def test_only_envs_that_no_action_can_spoil_go_unchecked(env_id):
    """Pendulum takes real numbers, and none of them need be one."""
    quick = lean(bare(env_id))
    quick.reset(seed=0)
    if env_id == "Pendulum-v1":
        assert not np.isfinite(quick.step(np.array([np.nan], np.float32))[0]).all()
    assert quick.always_finite == (env_id != "Pendulum-v1")
