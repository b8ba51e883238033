"""Images with channels first, lines about other images, and actions scaled to the bounds."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import BadInput
from rl_cli.envs.env_notes import image_note, one_action_note
from rl_cli.envs.make import make_env
from rl_cli.envs.spaces import action_decoder, spec_of
from tests.algos.test_algorithms import env_config

IMAGE = {"low": 0, "high": 255, "dtype": np.uint8}


class Any(gym.Env):
    """Observations are random members of their space; `taken` are the actions."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, obs=None, action=None):
        self.observation_space = obs or spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = action or spaces.Discrete(2)
        self.taken = []

    def obs(self):
        self.last = self.observation_space.sample()
        return self.last

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.obs(), {}

    def step(self, action):
        self.taken.append(action)
        return self.obs(), 0.0, False, False, {}


def made(obs=None, action=None, **changes):
    gym.register("TestAny-v0", lambda: Any(obs, action))
    try:
        return make_env(env_config("TestAny-v0", **changes))
    finally:
        del gym.registry["TestAny-v0"]


@pytest.mark.parametrize("shape", [(1, 36, 40), (3, 64, 64), (4, 84, 84)])
def test_images_with_channels_first_stay_as_they_are(shape):
    env = made(spaces.Box(shape=shape, **IMAGE))
    obs, _ = env.reset(seed=0)
    assert (obs.shape, obs.dtype, env.observation_space.shape) == (shape, np.uint8, shape)
    assert np.array_equal(obs, env.unwrapped.last)
    assert image_note(env) is None


def test_they_are_stacked_resized_and_gray_like_other_images():
    env = made(spaces.Box(shape=(3, 64, 48), **IMAGE), frame_stack=2)
    obs, _ = env.reset(seed=0)
    first = env.unwrapped.last
    obs, *_ = env.step(0)
    assert obs.shape == (6, 64, 48)
    assert np.array_equal(obs, np.concatenate([first, env.unwrapped.last]))
    env = made(spaces.Box(shape=(3, 64, 48), **IMAGE), grayscale=True, resize=40)
    assert env.reset(seed=0)[0].shape == (1, 40, 40)


@pytest.mark.parametrize(
    ("space", "values"),
    [
        (spaces.Box(0, 1, (3, 64, 64), np.float32), "12,288 values"),
        (spaces.Box(shape=(3, 20, 20), **IMAGE), "1,200 values"),
        (spaces.Box(shape=(12, 84, 84), **IMAGE), "84,672 values"),
        (spaces.Box(shape=(20, 20), **IMAGE), "400 values"),
        (
            spaces.Dict({"a": spaces.Box(shape=(64, 64, 3), **IMAGE), "b": spaces.Discrete(2)}),
            "12,288 values",
        ),
    ],
)
@pytest.mark.parametrize("frame_stack", [1, 2])
def test_images_are_flattened_as_in_earlier_runs_on_request(space, values, frame_stack):
    env = made(space, frame_stack=frame_stack, flatten=True)
    assert env.observation_space.shape == (spaces.flatdim(space) * frame_stack,)
    line = image_note(env)
    assert values in line
    assert "env.flatten=false" in line
    assert image_note(made(space, frame_stack=frame_stack)) is None


def test_arrays_that_are_too_small_for_images_are_named():
    line = image_note(made(spaces.Box(shape=(6, 8, 3), **IMAGE)))
    assert "(6, 8, 3) (uint8) are flattened to 144 values: images have 7x7 pixels" in line


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (9,), np.float32),
        spaces.Box(-1, 1, (4, 4), np.float32),
        spaces.Box(shape=(3, 8), **IMAGE),
        spaces.Discrete(5),
    ],
)
def test_vectors_and_small_tables_are_not_called_images(space):
    env = made(space, frame_stack=3)
    assert image_note(env) is None
    assert len(env.observation_space.shape) == 1


def test_channels_first_can_be_switched_off_as_in_earlier_runs():
    env = made(spaces.Box(shape=(3, 64, 64), **IMAGE), channels_first=False)
    assert env.observation_space.shape == (3 * 64 * 64,)
    assert "env.channels_first=true" in image_note(env)


def scaled(space, *actions):
    """What the env receives for actions of the algorithm."""
    env = made(action=space, scale_actions=True)
    env.reset(seed=0)
    for choice in action_decoder(env.action_space)(np.array(actions, np.float32)):
        env.step(choice)
    taken = env.unwrapped.taken
    assert all(space.contains(action) for action in taken)
    return [action.tolist() for action in taken]


def test_scaled_actions_reach_the_bounds_and_never_leave_them():
    space = spaces.Box(np.array([100, -2], np.float32), np.array([200, 0.1], np.float32))
    found = scaled(space, [-1, -1], [0, 0], [1, 1], [-7, 7])
    low, middle, high, clipped = np.array(found)
    np.testing.assert_allclose(low, [100, -2])
    np.testing.assert_allclose(middle, [150, -0.95], rtol=1e-6)
    np.testing.assert_allclose(high, [200, 0.1], rtol=1e-6)
    np.testing.assert_allclose(clipped, [100, 0.1], rtol=1e-6)


def test_scaled_whole_numbers_are_rounded():
    assert scaled(spaces.Box(0, 10, (1,), np.int64), [-1], [0.04], [0.19], [1]) == [
        [0], [5], [6], [10],
    ]  # fmt: skip


def test_the_algorithm_sees_bounds_of_minus_one_and_one():
    cfg = env_config("Pendulum-v1", scale_actions=True)
    spec = spec_of(make_env(cfg), cfg)
    assert (spec.action.low, spec.action.high, spec.action.shape) == ((-1.0,), (1.0,), (1,))


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-np.inf, 1, (2,), np.float32)])
def test_spaces_without_finite_bounds_cannot_be_scaled(space):
    with pytest.raises(BadInput) as caught:
        made(action=space, scale_actions=True)
    assert caught.value.where == "env.scale_actions=true"


@pytest.mark.parametrize(
    ("space", "is_one"),
    [
        (spaces.Discrete(1), True),
        (spaces.Discrete(2), False),
        (spaces.MultiDiscrete([1, 1]), True),
        (spaces.MultiDiscrete([1, 2]), False),
        (spaces.Box(1.0, 1.0, (2,)), True),
        (spaces.Box(np.array([0, 1], np.float32), np.ones(2, np.float32)), False),
    ],
)
def test_env_without_a_choice_is_named(space, is_one):
    env = gym.Env()
    env.action_space = space
    assert (one_action_note(env) is not None) == is_one
