"""The lean LunarLander does what gymnasium's does, to the last bit."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.lunar_lander import heuristic

from rl_cli.envs.fast_classic_control import lean
from rl_cli.envs.fast_lunar_lander import LunarLander
from rl_cli.envs.vector import VectorEnv
from tests.algos.test_algorithms import env_config

KINDS = {
    "discrete": {},
    "discrete, wind": {"enable_wind": True, "gravity": -8.0},
    "continuous": {"continuous": True},
    "continuous, wind": {"continuous": True, "enable_wind": True, "wind_power": 5.0},
}


def bare(**kwargs):
    return gym.make("LunarLander-v3", **kwargs).unwrapped


def pilot(env, obs, sober):
    """Lands, or crashes; a continuous lander is asked for more than it has."""
    if not sober:
        return env.action_space.sample() * (2 if env.continuous else 1)
    action = heuristic(env, obs)
    return action.astype(np.float32) if env.continuous else int(action)


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_steps_are_equal_to_the_last_bit(kind):
    plain, quick = bare(**KINDS[kind]), lean(bare(**KINDS[kind]))
    assert type(quick) is LunarLander
    rng, seen = np.random.default_rng(0), set()
    plain.action_space.seed(0)
    expected, found = plain.reset(seed=3)[0], quick.reset(seed=3)[0]
    for step in range(8_000):
        assert np.array_equal(expected, np.array(found, np.float32))
        action = pilot(plain, expected, rng.random() < (0.9 if step % 1_000 < 700 else 0.1))
        expected, reward, terminated, *_ = plain.step(action)
        found, reward_found, ended, cut, _ = quick.step(action)
        assert (float(reward), terminated, False) == (reward_found, ended, cut)
        if terminated or step % 1_000 == 999:  # the next episode comes from the same generator
            seen.add(float(reward))
            expected, found = plain.reset()[0], quick.reset()[0]
    assert {100.0, -100.0} <= seen
    assert plain.np_random.bit_generator.state == quick.unwrapped.np_random.bit_generator.state


def test_a_lander_that_is_drawn_is_left_alone():
    env = bare(render_mode="rgb_array")
    assert lean(env) is env


def test_a_vector_of_envs_flies_it():
    envs = VectorEnv(env_config("LunarLander-v3", num_envs=2), [1, 2])
    assert [type(env) for env in envs.envs] == [LunarLander] * 2
    envs.reset()
    plain = bare()
    plain.reset(seed=1)
    for _ in range(20):
        transition, _ = envs.step(np.array([2, 0]))
        expected, reward, *_ = plain.step(2)
        assert np.array_equal(transition.next_obs[0], expected)
        assert transition.reward[0] == np.float32(reward)
