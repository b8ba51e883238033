"""Lines about actions outside of the bounds and images in an MLP."""

from types import SimpleNamespace

import numpy as np
import pytest

from rl_cli.core.types import ActionSpec
from rl_cli.envs.action_log import ActionLog, bytes_of
from rl_cli.training.callbacks.advice import (
    SAMPLES,
    AdviceCallback,
    ClippedActions,
    first_actions,
)
from rl_cli.training.callbacks.triggers import Trigger

NORMAL = np.random.default_rng(0).normal(size=(SAMPLES, 2)).astype(np.float32)
HELP = "env.scale_actions=true"


def box(low, high):
    return ActionSpec("box", (len(low),), (), tuple(low), tuple(high))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ([-1, 100], [1, 200], ["bounds 100 to 200 of action 1", "clipped to 100", HELP]),
        ([-9, -1], [-5, 1], ["bounds -9 to -5 of action 0", "clipped to -5", HELP]),
        ([-1, -500], [1, 500], ["a small part of the bounds -500 to 500 of action 1", HELP]),
        ([-1, 0], [1, 0.01], ["bounds 0 to 0.01 of action 1", "clipped to either bound", HELP]),
        ([100, -1], [np.inf, 1], ["bounds 100 to inf of action 0", "wrap the env"]),
    ],
)
def test_first_actions_outside_of_the_bounds_are_named(low, high, words):
    line = first_actions(NORMAL, box(low, high))
    assert all(word in line for word in words)
    assert "about 0." in line or "about -0." in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ([-1, 0], [1, 1]),  # half of the actions of CarRacing's brake are clipped
        ([-0.4, -2], [0.4, 2]),
        ([-10, 0.5], [10, 3]),
        ([-np.inf, -np.inf], [np.inf, 0]),
        ([3, -1], [3, 1]),  # a bound without a width: nothing to learn
    ],
)
def test_first_actions_within_the_bounds_are_not_mentioned(low, high):
    assert first_actions(NORMAL, box(low, high)) is None


def test_small_stds_of_the_user_are_not_mentioned():
    assert first_actions(NORMAL * 1e-3, box([-1, -2], [1, 2])) is None


def test_clipped_actions_are_those_of_a_whole_window():
    clipped = ClippedActions(box([-1, -1], [1, 1]))
    outside = np.tile(np.array([[0.0, 3.0]], np.float32), (SAMPLES // 2, 1))
    assert clipped.add(outside) is None  # half a window
    assert clipped.add(outside[:0]) is None
    assert "action 1 was clipped to 1 in 256 of 256" in clipped.add(outside)


def test_one_action_inside_starts_a_new_window():
    clipped = ClippedActions(box([-1], [1]))
    outside = np.full((SAMPLES - 1, 1), -3, np.float32)
    inside = np.array([[0.5]], np.float32)
    assert clipped.add(np.concatenate([outside, inside])) is None
    assert clipped.add(outside) is None
    assert "clipped to -1" in clipped.add(outside)


def test_actions_at_both_bounds_are_a_policy_of_their_own():
    """Bang-bang control is clipped in every step."""
    clipped = ClippedActions(box([-1], [1]))
    assert clipped.add(np.tile(np.array([[-3], [3]], np.float32), (SAMPLES, 1))) is None


def callback(envs, predict, lines):
    return AdviceCallback(envs, predict, 0, lines.append, Trigger(100))


def fake_envs(spec, notes=()):
    log = ActionLog(spec, 1)
    return SimpleNamespace(
        obs=np.zeros((1, 3), np.float32),
        spec=SimpleNamespace(action=spec),
        notes=list(notes),
        actions=[log],
    )


def state(step):
    return SimpleNamespace(step=step, episodes=0, served=(step, 0))


def test_lines_come_once_and_not_again_at_a_resume():
    lines, spec = [], box([100, 100], [200, 200])
    advice = callback(fake_envs(spec, ["about images"]), lambda obs, rng: NORMAL, lines)
    advice.start(state(500))
    assert lines == []
    advice.start(state(0))
    assert lines[0] == "about images"
    assert len(lines) == 2
    advice.envs.actions[0].add(bytes_of(NORMAL, spec))
    advice.run(state(1000))  # the same fact
    assert len(lines) == 2


def test_missing_value_of_info_is_named_after_an_episode_of_this_process():
    lines = []
    envs = fake_envs(box([-1], [1]))
    envs.infos = SimpleNamespace(missing=lambda: ["score"])
    advice = callback(envs, lambda obs, rng: NORMAL, lines)
    advice.start(SimpleNamespace(step=500, episodes=7, served=(500, 7)))
    advice.clipped = None
    advice.run(SimpleNamespace(step=600, episodes=7))
    assert lines == []
    advice.run(SimpleNamespace(step=700, episodes=8))
    assert lines == ["env.log_info: info has had no number named score so far"]


def test_a_policy_that_leaves_the_bounds_later_is_named_once():
    lines, spec = [], box([-1, -1], [1, 1])
    envs = fake_envs(spec)
    advice = callback(envs, lambda obs, rng: NORMAL, lines)
    advice.start(state(0))
    for step in range(100, 1000, 100):
        envs.actions[0].add(bytes_of(np.full((200, 2), 7, np.float32), spec))
        advice.run(state(step))
    (line,) = lines
    assert "clipped to 1 in 456 of 456 steps looked at, up to step 200" in line
    assert HELP in line


def test_predict_draws_from_a_stream_of_its_own():
    seen = []

    def predict(obs, rng):
        seen.append((obs.shape, rng.random()))
        return NORMAL

    for _ in range(2):
        callback(fake_envs(box([-1, -1], [1, 1])), predict, []).start(state(0))
    assert seen[0] == seen[1]
    assert seen[0][0] == (SAMPLES, 3)
