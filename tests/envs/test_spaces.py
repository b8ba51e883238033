"""Specs and decoding of actions, success thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from rl_cli.core.errors import BadInput
from rl_cli.envs.make import make_env
from rl_cli.envs.spaces import action_decoder, spec_of, success_threshold
from tests.algos.test_algorithms import env_config
from tests.envs.test_make import ACTIONS


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


@pytest.mark.parametrize("name", ["Switches", "Grid"])
def test_unsupported_action_spaces_raise(name):
    cfg = env_config(f"Test{name}Actions-v0")
    with pytest.raises(BadInput) as caught:
        spec_of(make_env(cfg), cfg)
    assert str(ACTIONS[name]) in caught.value.what
    assert caught.value.where == f"env.id={cfg.id}"
    assert "Discrete, MultiDiscrete and Box" in caught.value.fix
