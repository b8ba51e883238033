"""The fast LunarLander equals gymnasium's bit for bit."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.lunar_lander import heuristic

from rl_cli.envs.fast_classic_control import make_fast
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


def pilot(env, obs, use_heuristic):
    """A heuristic action that lands, or a random one; continuous ones exceed the bounds."""
    if not use_heuristic:
        return env.action_space.sample() * (2 if env.continuous else 1)
    action = heuristic(env, obs)
    return action.astype(np.float32) if env.continuous else int(action)


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_steps_are_bit_identical(kind):
    reference, fast = bare(**KINDS[kind]), make_fast(bare(**KINDS[kind]))
    assert type(fast) is LunarLander
    rng, seen = np.random.default_rng(0), set()
    reference.action_space.seed(0)
    expected, found = reference.reset(seed=3)[0], fast.reset(seed=3)[0]
    for step in range(8_000):
        assert np.array_equal(expected, np.array(found, np.float32))
        action = pilot(reference, expected, rng.random() < (0.9 if step % 1_000 < 700 else 0.1))
        expected, reward, terminated, *_ = reference.step(action)
        found, reward_found, ended, cut, _ = fast.step(action)
        assert (float(reward), terminated, False) == (reward_found, ended, cut)
        if terminated or step % 1_000 == 999:  # the next episode draws from the same generator
            seen.add(float(reward))
            expected, found = reference.reset()[0], fast.reset()[0]
    assert {100.0, -100.0} <= seen
    assert reference.np_random.bit_generator.state == fast.unwrapped.np_random.bit_generator.state


def test_lander_with_a_renderer_is_returned_unchanged():
    env = bare(render_mode="rgb_array")
    assert make_fast(env) is env


def test_vector_env_uses_the_fast_lander():
    envs = VectorEnv(env_config("LunarLander-v3", num_envs=2), [1, 2])
    assert [type(env) for env in envs.envs] == [LunarLander] * 2
    envs.reset()
    reference = bare()
    reference.reset(seed=1)
    for _ in range(20):
        transition, _ = envs.step(np.array([2, 0]))
        expected, reward, *_ = reference.step(2)
        assert np.array_equal(transition.next_obs[0], expected)
        assert transition.reward[0] == np.float32(reward)
