"""The frames of the fast CarRacing equal gymnasium's pixel for pixel."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d import car_racing

from rl_cli.envs.fast_car_racing import CarRacing
from rl_cli.envs.make import make_env
from rl_cli.envs.wrappers import ActionRepeat, OneFrameRepeat
from tests.algos.test_algorithms import env_config

KINDS = {
    "continuous": {},
    "discrete": {"continuous": False},
    "random colors": {"domain_randomize": True},
}


def drive(env, rng, step):
    """Fast ahead, so that the car leaves the road."""
    if not env.continuous:
        return int(rng.integers(5)) if rng.random() < 0.3 else 3
    return np.array([rng.uniform(-0.3, 0.3), 0.6 * (step % 200 < 120), 0.0], np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_bit_identical(kind):
    reference, fast = car_racing.CarRacing(**KINDS[kind]), CarRacing(**KINDS[kind])
    rng = np.random.default_rng(0)
    for episode in range(2):
        expected, found = reference.reset(seed=episode)[0], fast.reset(seed=episode)[0]
        for step in range(150):
            assert np.array_equal(expected, found)
            action = drive(reference, rng, step)
            expected, *rest = reference.step(action)
            found, *rest_found = fast.step(action)
            assert rest == rest_found


def test_what_is_shown_in_a_video_is_bit_identical():
    envs = [kind(render_mode="rgb_array") for kind in (car_racing.CarRacing, CarRacing)]
    for env in envs:
        env.reset(seed=1)
        for _ in range(30):
            env.step(np.array([0.1, 1.0, 0.0], np.float32))
    assert np.array_equal(envs[0].render(), envs[1].render())


@pytest.mark.parametrize("times", [2, 7])
def test_repeated_actions_end_with_the_same_frame(times):
    """The time limit of 40 is no multiple of 7, so that the last repeat of an episode is a part of one."""
    reference = ActionRepeat(gym.make("CarRacing-v3", max_episode_steps=40), times)
    kwargs = {"frame_skip": times, "max_episode_steps": 40, "channels_first": True}
    fast = make_env(env_config("CarRacing-v3", **kwargs))
    rng, cuts = np.random.default_rng(0), 0
    expected, found = reference.reset(seed=0)[0], fast.reset(seed=0)[0]
    for _ in range(3 * 40 // times):
        assert np.array_equal(expected.transpose(2, 0, 1), found)
        action = np.array([rng.uniform(-1, 1), rng.uniform(), rng.uniform(0, 0.1)], np.float32)
        expected, *rest = reference.step(action)
        found, *rest_found = fast.step(action)
        assert rest[:3] == rest_found[:3]
        if rest[2]:
            assert np.array_equal(expected.transpose(2, 0, 1), found)
            cuts += 1
            expected, found = reference.reset(seed=cuts)[0], fast.reset(seed=cuts)[0]
    assert cuts >= 2


def repeats(env):
    """The wrapper that repeats actions."""
    while not isinstance(env, ActionRepeat):
        env = env.env
    return env


def test_every_frame_is_drawn_for_wrappers_of_a_user():
    bare = env_config("CarRacing-v3", frame_skip=2)
    wrapped = env_config(
        "CarRacing-v3",
        frame_skip=2,
        wrappers=[{"wrapper": "gymnasium.wrappers:ClipReward", "max_reward": 1}],
    )
    assert type(repeats(make_env(bare))) is OneFrameRepeat
    assert type(repeats(make_env(wrapped))) is ActionRepeat


def test_class_that_someone_else_registered_stays():
    spec = gym.registry["CarRacing-v3"]
    gym.register("CarRacing-v9", entry_point=car_racing.CarRacing)
    try:
        env = make_env(env_config("CarRacing-v9"))
        assert type(env.unwrapped) is car_racing.CarRacing
    finally:
        del gym.registry["CarRacing-v9"]
    assert gym.registry["CarRacing-v3"] is spec
    assert spec.entry_point == "gymnasium.envs.box2d.car_racing:CarRacing"
