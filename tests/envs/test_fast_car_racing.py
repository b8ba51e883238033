"""The frames of the fast CarRacing equal gymnasium's pixel for pixel."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d import car_racing

from rl_cli.envs.fast_car_racing import CarRacing
from rl_cli.envs.make import make_env, make_own_env
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
        for step in range(100):
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


def both(**changes):
    """A reference whose actions are repeated, every frame drawn, and an env of this project."""
    cfg = env_config("CarRacing-v3", flatten=False, **changes)
    kwargs = {"max_episode_steps": cfg.max_episode_steps, **cfg.kwargs}
    return ActionRepeat(gym.make("CarRacing-v3", **kwargs), cfg.frame_skip), make_env(cfg)


def compare(reference, fast, steps, seed=0):
    """Play both, from the seeds `seed` and on. -> how the episodes ended."""
    rng, ends = np.random.default_rng(0), []
    expected, found = reference.reset(seed=seed)[0], fast.reset(seed=seed)[0]
    for step in range(steps):
        assert np.array_equal(expected.transpose(2, 0, 1), found)
        action = drive(reference.unwrapped, rng, step)
        expected, *rest = reference.step(action)
        found, *rest_found = fast.step(action)
        assert rest == rest_found
        if rest[1] or rest[2]:
            assert np.array_equal(expected.transpose(2, 0, 1), found)
            ends.append("terminated" if rest[1] else "truncated")
            seed += 1
            expected, found = reference.reset(seed=seed)[0], fast.reset(seed=seed)[0]
    return ends


@pytest.mark.parametrize("times", [2, 7])
def test_repeated_actions_end_with_the_same_frame(times):
    """The time limit of 40 is no multiple of 7: the last action of an episode is repeated five times."""
    ends = compare(*both(frame_skip=times, max_episode_steps=40), steps=3 * 40 // times)
    assert ends[:2] == ["truncated"] * 2


def test_episode_that_ends_within_a_repeated_action():
    """A lap is complete after the first tiles."""
    lap = {"lap_complete_percent": 0.0, "continuous": False}
    ends = compare(*both(frame_skip=40, kwargs=lap), steps=12)
    assert "terminated" in ends


def test_frames_are_drawn_again_after_a_step_that_raised():
    reference, fast = both(frame_skip=3, kwargs={"continuous": False})
    for env in (reference, fast):
        env.reset(seed=0)
        with pytest.raises(Exception, match="invalid action"):
            env.step(9)
    assert compare(reference, fast, steps=4, seed=1) == []


def repeats(env):
    """The wrapper that repeats actions."""
    while not isinstance(env, ActionRepeat):
        env = env.env
    return env


def test_class_of_an_env_with_wrappers_is_gymnasiums():
    """A wrapper may change what is drawn, or the frame."""
    bare = make_env(env_config("CarRacing-v3", frame_skip=2))
    assert type(bare.unwrapped) is CarRacing
    assert type(repeats(bare)) is OneFrameRepeat
    clip = {"wrapper": "gymnasium.wrappers:ClipReward", "max_reward": 1}
    wrapped = make_env(env_config("CarRacing-v3", frame_skip=2, wrappers=[clip]))
    assert type(wrapped.unwrapped) is car_racing.CarRacing
    assert type(repeats(wrapped)) is ActionRepeat


@pytest.fixture
def registry():
    """gymnasium's registry, restored afterwards."""
    before = dict(gym.registry)
    yield gym.registry
    gym.registry.clear()
    gym.registry.update(before)


class Other(car_racing.CarRacing):
    """Someone else's."""


def test_envs_that_others_registered_keep_their_class(registry):
    gray = gym.wrappers.GrayscaleObservation(gym.make("CarRacing-v3")).spec.additional_wrappers
    entry = registry["CarRacing-v3"].entry_point
    gym.register("Gray-v0", entry_point=entry, additional_wrappers=gray)
    registry["CarRacing-v3"] = gym.envs.registration.EnvSpec(
        "CarRacing-v3", entry_point=f"{__name__}:Other"
    )
    assert type(make_env(env_config("Gray-v0")).unwrapped) is car_racing.CarRacing
    assert type(make_env(env_config("CarRacing-v3")).unwrapped).__name__ == "Other"


def test_env_is_described_and_copied_as_gymnasiums():
    """A dataset or another program makes the env again from its spec."""
    env, _ = make_own_env(env_config("CarRacing-v3"))
    reference = gym.make("CarRacing-v3", disable_env_checker=True)
    assert env.unwrapped.spec.to_json() == reference.unwrapped.spec.to_json()
    assert env.env.spec == reference.spec  # with its time limit
    assert env.spec.max_episode_steps == 1_000
    assert "rl_cli" not in gym.spec("CarRacing-v3").entry_point
    assert type(copy.deepcopy(env).unwrapped) is CarRacing
