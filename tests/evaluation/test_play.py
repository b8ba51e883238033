"""rl-play with posted key events and no display: actions, recorded transitions and videos, prefill."""

from __future__ import annotations

import random
import signal

import gymnasium as gym
import numpy as np
import pygame
import pytest
import safetensors.numpy
from gymnasium.envs.classic_control import CartPoleEnv

from rl_cli.cli import play as rl_play
from rl_cli.cli import train as rl_train
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec
from rl_cli.envs.make import make_env
from rl_cli.envs.spaces import action_decoder, spec_of
from rl_cli.evaluation import play
from rl_cli.evaluation.keyboard import KEYBOARDS, keyboard_of
from rl_cli.tracking.formatting import number
from tests.algos.test_algorithms import env_config
from tests.conftest import REPO
from tests.evaluation.test_video import decoded
from tests.training.test_prefill import TINY, buffer_of

DOWN, UP = pygame.KEYDOWN, pygame.KEYUP
ESCAPE = (DOWN, pygame.K_ESCAPE)
START = (DOWN, pygame.K_SPACE)


@pytest.fixture
def press_keys(monkeypatch):
    """A function that posts key events at given frames: {frame number: [(kind, key), ...]}."""

    def arrange(script):
        original, shown = play.Window._read_keys, []

        def read_keys(self):
            shown.append(None)
            for kind, key in script.get(len(shown), []):
                pygame.event.post(pygame.event.Event(kind, key=key))
            assert len(shown) < 2_000, "the game did not end"
            original(self)

        monkeypatch.setattr(play.Window, "_read_keys", read_keys)

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    return arrange


def play_recorded(*overrides):
    """The exit code of rl-play."""
    return rl_play.run([*overrides, "fps=2000", "output=out"])


def push_right(seed):
    """Observations of a CartPole episode in which every action is 1, (T + 1, 4)."""
    env = gym.make("CartPole-v1")
    obs, over = [env.reset(seed=seed)[0]], False
    while not over:
        new, _, over, _, _ = env.step(1)
        obs.append(new)
    return np.array(obs)


def test_two_episodes_are_played_reported_and_recorded(here, press_keys, capsys):
    press_keys({2: [START], 4: [(DOWN, pygame.K_RIGHT)]})
    assert play_recorded("env=cartpole", "record=true", "episodes=2", "seed=3") == 0
    observations = [push_right(3), push_right(4)]
    lengths = [len(obs) - 1 for obs in observations]
    out = capsys.readouterr().out
    for i, length in enumerate(lengths):
        assert f"episode {i + 1}: return {number(length)}, {length} steps\n" in out
    assert "left or a   push left" in out
    rows = safetensors.numpy.load((here / "out/transitions.safetensors").read_bytes())
    assert np.array_equal(rows["obs"], np.concatenate([obs[:-1] for obs in observations]))
    assert np.array_equal(rows["next_obs"], np.concatenate([obs[1:] for obs in observations]))
    assert rows["action"].tolist() == [1] * sum(lengths)
    assert rows["reward"].tolist() == [1.0] * sum(lengths)
    assert np.flatnonzero(rows["terminated"]).tolist() == [lengths[0] - 1, sum(lengths) - 1]
    assert not rows["truncated"].any()
    assert len(decoded(here / "out/episode_000.mp4")[2]) == lengths[0] + 1
    assert sorted(p.name for p in (here / "out").iterdir()) == [
        "episode_000.mp4", "episode_001.mp4", "transitions.safetensors",
    ]  # fmt: skip


def test_what_an_env_draws_from_besides_its_own_generator_is_seeded(here, press_keys, monkeypatch):
    drawn, reset = [], CartPoleEnv.reset

    def drawing_reset(self, **kwargs):
        drawn.append((random.random(), np.random.rand(), self.action_space.sample()))  # noqa: NPY002
        return reset(self, **kwargs)

    monkeypatch.setattr(CartPoleEnv, "reset", drawing_reset)
    for _ in range(2):
        press_keys({2: [START], 4: [(DOWN, pygame.K_RIGHT)]})
        assert play_recorded("env=cartpole", "episodes=1", "seed=3") == 0
    half = len(drawn) // 2
    assert drawn[:half] == drawn[half:]


def test_env_without_idle_action_waits_for_keys_and_a_tap_is_one_step(here, press_keys):
    """Tap left, tap right, escape: two steps, the last one truncated."""
    tap = [(DOWN, pygame.K_a), (UP, pygame.K_a)]
    press_keys(
        {
            1: [START, (UP, START[1])],
            20: tap,
            40: [(DOWN, pygame.K_d), (UP, pygame.K_d)],
            60: [ESCAPE],
        }
    )
    assert play_recorded("env=cartpole", "record=true") == 0
    rows = safetensors.numpy.load((here / "out/transitions.safetensors").read_bytes())
    assert rows["action"].tolist() == [0, 1]
    assert (rows["terminated"].tolist(), rows["truncated"].tolist()) == ([False] * 2, [False, True])
    assert len(decoded(here / "out/episode_000.mp4")[2]) == 3


def test_env_with_idle_action_steps_without_keys(here, press_keys):
    """MountainCar: five idle steps, then left while the key is down."""
    press_keys({1: [START], 7: [(DOWN, pygame.K_LEFT)], 10: [(UP, pygame.K_LEFT)], 12: [ESCAPE]})
    assert play_recorded("env=mountaincar", "record=true") == 0
    rows = safetensors.numpy.load((here / "out/transitions.safetensors").read_bytes())
    assert rows["action"].tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 1]


def test_ctrl_c_keeps_the_recorded_transitions(here, press_keys, capsys, monkeypatch):
    """As escape does: an incomplete episode is truncated."""
    press_keys({1: [START], 12: []})
    original, frames = play.Window._read_keys, []

    def interrupted_read(self):
        frames.append(None)
        if len(frames) == 8:
            signal.raise_signal(signal.SIGINT)
        original(self)

    monkeypatch.setattr(play.Window, "_read_keys", interrupted_read)
    assert play_recorded("env=mountaincar", "record=true") == 0
    rows = safetensors.numpy.load((here / "out/transitions.safetensors").read_bytes())
    assert rows["truncated"].tolist() == [False] * (len(rows["truncated"]) - 1) + [True]
    out = capsys.readouterr().out
    assert "rl-train algo=dqn env=mountaincar algo.prefill=" in out


def test_quitting_before_the_first_step_writes_no_file(here, press_keys):
    press_keys({1: [START], 2: [ESCAPE]})
    assert play_recorded("env=cartpole", "record=true") == 0
    assert not list(here.glob("out/*"))


def test_no_file_is_written_without_record(here, press_keys):
    press_keys({1: [START], 2: [(DOWN, pygame.K_d)]})
    assert rl_play.run(["env=cartpole", "episodes=1", "fps=2000"]) == 0
    assert list(here.iterdir()) == []


# Keys


def test_last_key_selects_a_discrete_action_and_parts_of_a_continuous_one_are_summed():
    spec = ActionSpec("discrete", (), (4,))
    lander = keyboard_of("LunarLander-v3", spec)
    assert [int(lander.action(p, spec)) for p in ([], ["left"], ["left", "w"], ["w", "d"])] == [
        0,
        1,
        2,
        3,
    ]
    assert int(lander.action(["x"], spec)) == 0
    box = ActionSpec("box", (3,), (), (-1.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    car = keyboard_of("CarRacing-v3", box)
    np.testing.assert_allclose(car.action(["up", "left"], box), [-1.0, 1.0, 0.0])
    np.testing.assert_allclose(car.action(["left", "d", "s"], box), [0.0, 0.0, 0.8])
    other = keyboard_of("Taxi-v3", ActionSpec("discrete", (), (6,)))
    assert other.action(["left"], spec) is None
    assert int(other.action(["5"], spec)) == 5
    assert keyboard_of("my.module:CartPole-v0", spec) is KEYBOARDS["CartPole", "discrete"]


@pytest.mark.parametrize(("name", "kind"), KEYBOARDS)
def test_every_key_is_a_valid_action_of_its_env(name, kind):
    version = {"LunarLander": 3, "LunarLanderContinuous": 3, "CarRacing": 3, "BipedalWalker": 3}
    version |= {"CartPole": 1, "Acrobot": 1, "Pendulum": 1, "FrozenLake": 1, "CliffWalking": 1}
    kwargs = {"continuous": kind == "box"} if name in ("LunarLander", "CarRacing") else {}
    cfg = env_config(f"{name}-v{version.get(name, 0)}", kwargs=kwargs)
    env = make_env(cfg)
    spec = spec_of(env, cfg).action
    keyboard, decode = keyboard_of(cfg.id, spec), action_decoder(env.action_space)
    for names in [[], *([n] for key in keyboard.keys for n in key.names)]:
        action = keyboard.action(names, spec)
        assert (action is None) == (not names and keyboard.idle is None)
        if action is not None:
            assert action.shape == spec.shape
            assert env.action_space.contains(decode(action[None])[0])
    env.close()


@pytest.mark.parametrize(
    ("env_id", "left", "right"),
    [("CartPole-v1", 0, 1), ("MountainCar-v0", 0, 2), ("LunarLander-v3", 1, 3)],
)
def test_left_keys_move_left_and_right_keys_right(env_id, left, right):
    """After eight steps the position is further left than after eight steps to the right."""
    positions = []
    for action in (left, right):
        env = gym.make(env_id)
        env.reset(seed=0)
        positions.append([env.step(action)[0] for _ in range(8)][-1][0])
    assert positions[0] < positions[1]
    spec = ActionSpec("discrete", (), (4,))
    keyboard = keyboard_of(env_id, spec)
    assert [int(keyboard.action([k], spec)) for k in ("left", "a", "right", "d")] == [
        left,
        left,
        right,
        right,
    ]


def test_env_without_key_assignment_is_refused(here, press_keys, capsys):
    press_keys({})
    assert play_recorded("env.id=Humanoid-v5") == 2  # not installed, or 17 continuous actions
    with pytest.raises(BadInput, match="no keys are assigned for X-v0, which has box actions"):
        keyboard_of("X-v0", ActionSpec("box", (1,), (), (-1.0,), (1.0,)))
    with pytest.raises(BadInput, match="18 actions"):
        keyboard_of("X-v0", ActionSpec("discrete", (), (18,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["env=mountain"], "did you mean mountaincar?"),
        (["fps=0"], "fps=0"),
        (["recrod=true"], "did you mean record?"),
        (["env=cartpole", "-m"], "rl-play plays one env at a time"),
        (["env.id=ProbeNowhere-v0"], "ProbeNowhere"),
    ],
)
def test_bad_input_is_three_lines(here, press_keys, capsys, arguments, message):
    press_keys({})
    assert rl_play.run(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 3


def test_no_display_is_refused(here, monkeypatch, capsys):
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert rl_play.run(["env=cartpole"]) == 2
    assert "no display is available" in capsys.readouterr().err


def test_existing_folder_is_not_overwritten(here, press_keys, capsys):
    (here / "out").mkdir()
    (here / "out/mine").write_text("")
    assert play_recorded("env=cartpole", "record=true") == 2
    assert "output=out" in capsys.readouterr().err


# Prefill


def test_recorded_game_prefills_the_replay_buffer(here, press_keys):
    press_keys({2: [START], 3: [(DOWN, pygame.K_d)]})
    assert play_recorded("env=cartpole", "record=true", "episodes=1") == 0
    rows = safetensors.numpy.load((here / "out/transitions.safetensors").read_bytes())
    assert rl_train.run([*TINY, "run_dir=r", "algo.prefill=out/transitions.safetensors"]) == 0
    buffer, count = buffer_of(here / "r"), len(rows["reward"])
    assert buffer["size"] == count + 60
    for name, column in rows.items():
        assert np.array_equal(buffer["rows"][0][name][:count], column), name


def test_entry_point_is_declared():
    assert 'rl-play = "rl_cli.cli.entry:play"' in (REPO / "pyproject.toml").read_text()


def test_env_id_chooses_the_same_config_group_as_rl_train():
    """With another group the recorded observations would not fit."""
    from rl_cli.cli.play import prepared

    assert prepared(["env.id=ALE/Qbert-v5"])[:2] == ["env=atari", "env.id=ALE/Qbert-v5"]
    assert prepared(["env.id=FrozenLake-v1"])[0] == "env=custom"
    assert prepared(["env=atari", "env.id=ALE/Qbert-v5"])[0] == "env=atari"
