"""Specs and decoding of actions, success thresholds."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import BadInput
from rl_cli.envs.make import make_env
from rl_cli.envs.spaces import action_decoder, spec_of, success_threshold
from tests.algos.test_algorithms import env_config
from tests.envs.test_make import LINE, POINTS, Script

LINE_ENV = {"space": LINE, "values": POINTS}


@pytest.mark.parametrize(
    ("name", "kind", "sizes", "row", "expected"),
    [
        ("Offset", "discrete", (3,), np.int64(0), 5),
        ("Offset", "discrete", (3,), np.int64(2), 7),
        ("Pair", "multidiscrete", (2, 3), np.array([0, 2]), [1, 12]),
        ("Bounded", "box", (), np.array([-5, 1.5], np.float32), [-1, 1.5]),
        ("Bounded", "box", (), np.array([0.25, 7], np.float32), [0.25, 2]),
    ],
)
def test_actions_are_decoded_for_the_env(name, kind, sizes, row, expected):
    cfg = env_config(f"Test{name}Actions-v0")
    env = make_env(cfg)
    spec = spec_of(env, cfg).action
    assert (spec.kind, spec.sizes, spec.shape) == (kind, sizes, row.shape)
    before = row.copy()
    (action,) = action_decoder(env.action_space)(row[None])
    assert np.array_equal(action, expected)
    assert action in env.action_space
    assert np.array_equal(row, before)  # the input is not changed


def test_spec_has_the_bounds_of_box_actions():
    cfg = env_config("TestBoundedActions-v0")
    spec = spec_of(make_env(cfg), cfg)
    assert (spec.action.low, spec.action.high) == ((-1.0, 0.0), (1.0, 2.0))


def test_spec_has_the_number_of_envs():
    cfg = env_config("CartPole-v1", num_envs=3)
    assert spec_of(make_env(cfg), cfg).num_envs == 3


@pytest.mark.parametrize(
    ("env_id", "success_at", "expected"),
    [
        ("CartPole-v1", None, 475.0),
        ("CartPole-v1", 100.0, 100.0),
        ("CartPole-v1", 0.0, 0.0),
        ("Pendulum-v1", None, None),
        ("Pendulum-v1", -200.0, -200.0),
        ("ProbeEndless-v0", None, None),  # registered as infinite
    ],
)
def test_success_threshold_defaults_to_the_registered_one(env_id, success_at, expected):
    cfg = env_config(env_id, success_at=success_at)
    assert success_threshold(make_env(cfg), cfg) == expected


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(3)}),
        spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (1,)))),
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
    ],
)
def test_unsupported_action_spaces_raise(space):
    gym.register("TestRefusedActions-v0", Script, kwargs={**LINE_ENV, "actions": space})
    cfg = env_config("TestRefusedActions-v0")
    try:
        with pytest.raises(BadInput) as caught:
            spec_of(make_env(cfg), cfg)
    finally:
        del gym.registry["TestRefusedActions-v0"]
    assert str(space) in caught.value.what
    assert caught.value.where == f"env.id={cfg.id}"
    assert "Discrete, MultiDiscrete, MultiBinary and Box" in caught.value.fix


@pytest.mark.parametrize(
    ("space", "rows", "expected"),
    [
        (spaces.Box(-3, 3, (1,), np.int32), [[0.5], [1.5], [-0.6], [9], [-9]], [0, 2, -1, 3, -3]),
        (spaces.Box(0, 255, (1,), np.uint8), [[-1], [254.6], [300]], [0, 255, 255]),
        # the largest int64 is no float64
        (
            spaces.Box(-(2**63), 2**63 - 1, (1,), np.int64),
            [[1e30], [-1e30], [7.2]],
            [2**63 - 1, -(2**63), 7],
        ),
        (spaces.Box(-np.inf, 1, (1,), np.float32), [[-1e9], [5]], [-1e9, 1]),
        (spaces.Box(0, np.inf, (1,), np.float64), [[-1], [1e20]], [0, np.float32(1e20)]),
        (spaces.Box(-0.1, 0.1, (1,), np.float64), [[-1], [1]], [-0.1, 0.1]),
        (spaces.Box(-0.1, 0.1, (1,), np.float16), [[1]], [np.float16(0.1)]),
        (spaces.Box(-2, 2, (), np.float32), [0.25, 7], [0.25, 2]),
        (spaces.Box(0, 9, (), np.int64), [3.7, 12], [4, 9]),
        (spaces.Box(0, 1, (1,), np.bool_), [[0.7], [0.2]], [True, False]),
    ],
)
def test_actions_of_a_box_are_rounded_and_clipped_to_its_dtype(space, rows, expected):
    rows = np.array(rows, np.float32)
    found = action_decoder(space)(rows)
    assert all(space.contains(action) for action in found)
    assert {type(action) for action in found} == {np.ndarray}
    assert [np.asarray(action).item() for action in found] == expected


@pytest.mark.parametrize(
    ("space", "sizes"),
    [
        (spaces.MultiBinary(2), (2, 2)),
        (spaces.MultiBinary((2, 2)), (2, 2, 2, 2)),
        (spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 1], [0, 0]]), (2, 3, 4, 5)),
    ],
)
def test_choices_of_any_shape_are_multidiscrete(space, sizes):
    gym.register("TestChoices-v0", Script, kwargs={**LINE_ENV, "actions": space})
    cfg = env_config("TestChoices-v0")
    try:
        env = make_env(cfg)
    finally:
        del gym.registry["TestChoices-v0"]
    spec = spec_of(env, cfg).action
    assert (spec.kind, spec.shape, spec.sizes) == ("multidiscrete", space.shape, sizes)
    largest = (np.array(sizes) - 1).reshape(1, *space.shape)
    (action,) = action_decoder(space)(largest)
    assert space.contains(action)
    assert spec.contains(largest)
    assert not spec.contains(largest + 1)
    first = space.start if isinstance(space, spaces.MultiDiscrete) else 0
    assert np.array_equal(action, largest[0] + first)
