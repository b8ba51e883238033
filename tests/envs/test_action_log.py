"""The actions that are kept of a current episode are bounded; a longer episode is not resumed exactly."""

import numpy as np
import pytest

from rl_cli.core.types import ActionSpec, Episode, Recording
from rl_cli.envs import action_log
from rl_cli.envs.action_log import ActionLog, bytes_of
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.evaluation.video import replay_episode
from tests.algos.test_algorithms import env_config
from tests.envs.test_vector import idle, vector

BOX = ActionSpec("box", (2, 3))  # 24 bytes an action
SCALAR = ActionSpec("discrete", ())  # 8 bytes
ONE = bytes_of(np.array([1]), SCALAR)


@pytest.fixture
def small(monkeypatch):
    """10 discrete actions over all envs, and at least 6 of each env."""
    monkeypatch.setattr(action_log, "ACTION_LOG_BYTES", 80)
    monkeypatch.setattr(action_log, "MIN_LOG_BYTES", 48)


def test_rows_have_the_shape_and_type_of_actions():
    log, rng = ActionLog(BOX, 1), np.random.default_rng(0)
    actions = rng.normal(size=(5, 2, 3)).astype(np.float32)
    log.add(bytes_of(actions[0], BOX))
    log.add(bytes_of(actions[1:], BOX))
    assert len(log) == 5
    assert log.rows().dtype == np.float32
    assert np.array_equal(log.rows(), actions)
    assert np.array_equal(log.latest(2), actions[3:])
    assert np.array_equal(log.latest(9), actions)
    log.clear()
    assert log.rows().shape == log.latest(3).shape == (0, 2, 3)


def test_actions_of_another_type_are_kept_in_that_of_the_space():
    """Algorithms may choose in int32 or float64; a checkpoint holds int64 or float32."""
    log = ActionLog(SCALAR, 1)
    log.add(bytes_of(np.array([4, 0, 2], np.int32), SCALAR))
    assert log.rows().tolist() == [4, 0, 2]


@pytest.mark.parametrize(("num_envs", "kept"), [(1, 10), (2, 6), (100, 6)])
def test_an_episode_beyond_the_limit_keeps_nothing(small, num_envs, kept):
    log = ActionLog(SCALAR, num_envs)
    log.add(bytes_of(np.arange(kept), SCALAR))
    assert (len(log), log.complete) == (kept, True)
    for _ in range(1000):
        log.add(ONE)
    assert (len(log.data), log.complete) == (0, False)
    log.clear()  # the next episode
    log.add(ONE)
    assert (log.rows().tolist(), log.complete) == ([1], True)


def test_refill_continues_a_kept_episode_and_not_a_longer_one(small):
    log = ActionLog(SCALAR, 1)
    log.refill(np.arange(4), 4)
    log.add(ONE)
    assert log.rows().tolist() == [0, 1, 2, 3, 1]
    log.refill(np.empty(0, np.int64), 5)
    log.add(ONE)
    assert (log.rows().tolist(), log.complete) == ([], False)


def test_a_resumed_run_starts_a_new_episode_in_place_of_a_longer_one(small):
    envs, resumed = vector("TestClock-v0", 2), vector("TestClock-v0", 2)
    envs.reset()
    envs.step(idle(2))
    for _ in range(40):  # float32: 12 are kept
        envs.step(idle(2)[:1])  # the other env stays at its first step
    state = envs.state_dict()
    assert [len(rows) for rows in state["actions"]] == [0, 1]
    assert resumed.load_state_dict(state) == [0]
    assert "the episode has 41 steps, more than are kept for a replay" in resumed.inexact[0]
    assert resumed.lengths == [0, 1]
    assert resumed.obs.tolist() == [[0, 0], [0, 1]]  # a first step; the step that was replayed


def test_no_video_of_an_episode_that_is_not_kept(tmp_path):
    """Replaying no actions would look like an env that is not deterministic."""
    recording = Recording(Episode(1.0, 5_000), {"seed": 0}, np.empty((0, 1), np.float32))
    with pytest.raises(VideoUnavailable, match="5,000 steps, more than are kept"):
        replay_episode(env_config("TestClock-v0"), recording, tmp_path / "video.mp4")
    assert list(tmp_path.iterdir()) == []
