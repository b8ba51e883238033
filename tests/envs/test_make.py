"""Construction of envs from a configuration: observations, actions, error messages."""

from __future__ import annotations

import sys
import tomllib

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from omegaconf import OmegaConf

from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput
from rl_cli.envs.make import EXTRAS, make_env
from rl_cli.envs.spaces import action_decoder, spec_of
from tests.algos.test_algorithms import env_config
from tests.conftest import REPO


class Script(gym.Env):
    """Returns `values` in turn as observations, terminates at the last; the reward of step t is t."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, space, values, actions=None, render_mode=None):
        self.observation_space, self.values = space, values
        self.action_space = actions or spaces.Discrete(2)
        self.t, self.taken = 0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.values[0], {}

    def step(self, action):
        self.taken.append(action)
        self.t += 1
        assert self.t < len(self.values), "step after the end of the episode"
        return self.values[self.t], float(self.t), self.t == len(self.values) - 1, False, {}


def picture(*colors, channels=3):
    """40 x 48 pixels: the left half has the first color, the right half the second."""
    left, right = colors
    shape = (40, 48, channels)
    pixels = np.empty(shape, np.uint8)
    pixels[:, :24], pixels[:, 24:] = left, right
    return pixels


RED_GREEN, BLUE_GRAY = (
    picture((200, 0, 0), (0, 100, 0)),
    picture((0, 0, 50), (60, 60, 60)),
)
PIXELS = spaces.Box(0, 255, (40, 48, 3), np.uint8)
LINE = spaces.Box(-9, 9, (2,), np.float32)
POINTS = [np.array([t, -t], np.float32) for t in range(5)]

SCRIPTS = {
    "Line": (LINE, POINTS),
    "Discrete": (spaces.Discrete(4, start=1), [2]),
    "MultiBinary": (spaces.MultiBinary(3), [np.array([1, 0, 1], np.int8)]),
    "MultiDiscrete": (spaces.MultiDiscrete([2, 3]), [np.array([1, 2])]),
    "Dict": (
        spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Box(0, 1, (1,), np.float32)}),
        [{"a": np.array([0.5], np.float32), "b": 1}],
    ),
    "Tuple": (
        spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2))),
        [(2, np.array([1, 0], np.int8))],
    ),
    "Matrix": (spaces.Box(0, 9, (2, 2), np.float32), [np.array([[1, 2], [3, 4]], np.float32)]),
    "Scalar": (spaces.Box(0, 9, (), np.float32), [np.array(7, np.float32)]),
    "Pixels": (PIXELS, [RED_GREEN, BLUE_GRAY]),
    "Gray": (spaces.Box(0, 255, (40, 48), np.uint8), [RED_GREEN[:, :, 0]]),
    "GrayChannel": (spaces.Box(0, 255, (40, 48, 1), np.uint8), [RED_GREEN[:, :, :1]]),
    "Sequence": (spaces.Sequence(spaces.Discrete(2)), [(0, 1)]),
    "Graph": (spaces.Graph(spaces.Discrete(2), None), [None]),
}
for _name, (_space, _values) in SCRIPTS.items():
    gym.register(f"Test{_name}-v0", Script, kwargs={"space": _space, "values": _values})

ACTIONS = {
    "Offset": spaces.Discrete(3, start=5),
    "Pair": spaces.MultiDiscrete([2, 3], start=[1, 10]),
    "Bounded": spaces.Box(np.array([-1, 0], np.float32), np.array([1, 2], np.float32)),
    "Switches": spaces.MultiBinary(2),
    "Grid": spaces.MultiDiscrete([[2, 2], [2, 2]]),
}
for _name, _space in ACTIONS.items():
    gym.register(
        f"Test{_name}Actions-v0",
        Script,
        kwargs={"space": LINE, "values": POINTS, "actions": _space},
    )


def made(env_id, **changes):
    return make_env(env_config(env_id, **changes))


def first(env_id, **changes):
    """The first observation; it must be in the observation space."""
    env = made(env_id, **changes)
    obs, _ = env.reset(seed=0)
    assert obs.shape == env.observation_space.shape
    assert obs in env.observation_space
    return obs


GROUPS = {
    # name: observations, their type, kind of action, number of actions or shape of one
    "cartpole": ((4,), "float32", "discrete", 2),
    "mountaincar": ((2,), "float32", "discrete", 3),
    "mountaincar_continuous": ((2,), "float32", "box", (1,)),
    "acrobot": ((6,), "float32", "discrete", 3),
    "pendulum": ((3,), "float32", "box", (1,)),
    "lunarlander": ((8,), "float32", "discrete", 4),
    "lunarlander_windy": ((8,), "float32", "discrete", 4),
    "lunarlander_continuous": ((8,), "float32", "box", (2,)),
    "carracing": ((2, 64, 64), "uint8", "box", (3,)),
    "bipedalwalker": ((24,), "float32", "box", (4,)),
    "halfcheetah": ((17,), "float32", "box", (6,)),
    "hopper": ((11,), "float32", "box", (3,)),
    "walker2d": ((17,), "float32", "box", (6,)),
    "ant": ((105,), "float32", "box", (8,)),
    "swimmer": ((8,), "float32", "box", (2,)),
    "humanoid": ((348,), "float32", "box", (17,)),
    "minatar_breakout": ((4, 10, 10), "uint8", "discrete", 3),
    "minatar_asterix": ((4, 10, 10), "uint8", "discrete", 5),
    "minatar_freeway": ((7, 10, 10), "uint8", "discrete", 3),
    "minatar_seaquest": ((10, 10, 10), "uint8", "discrete", 6),
    "minatar_space_invaders": ((6, 10, 10), "uint8", "discrete", 4),
    "pong": ((4, 84, 84), "uint8", "discrete", 6),
    "pong_noframeskip": ((4, 84, 84), "uint8", "discrete", 6),
    "breakout": ((4, 84, 84), "uint8", "discrete", 4),
    "breakout_noframeskip": ((4, 84, 84), "uint8", "discrete", 4),
    "space_invaders": ((4, 84, 84), "uint8", "discrete", 6),
    "space_invaders_noframeskip": ((4, 84, 84), "uint8", "discrete", 6),
}
FAMILIES = {"custom", "atari", "atari_noframeskip"}  # need env.id


def group_values(name):
    """The values of a config group, merged with those of its defaults list."""
    own = OmegaConf.to_container(OmegaConf.load(REPO / f"conf/env/{name}.yaml"), resolve=False)
    base = [group_values(other) for other in own.pop("defaults", []) if other != "_self_"]
    return {key: value for values in [*base, own] for key, value in values.items()}


def skip_unless_installed(env_id):
    if env_id.startswith("ALE/") or "NoFrameskip" in env_id:
        pytest.importorskip("ale_py")
    elif env_id.startswith("MinAtar/"):
        pytest.importorskip("minatar")
    elif gym.spec(env_id).entry_point.startswith("gymnasium.envs.mujoco"):
        pytest.importorskip("mujoco")


def test_every_env_group_is_in_the_table():
    files = {path.stem for path in (REPO / "conf/env").glob("[!_]*.yaml")}
    assert files - FAMILIES == set(GROUPS)


@pytest.mark.parametrize("group", GROUPS)
def test_env_group_has_the_expected_spec_and_steps(group):
    obs_shape, obs_dtype, kind, actions = GROUPS[group]
    cfg = build(EnvConfig, group_values(group) | {"reward_gamma": 0.99}, "env")
    skip_unless_installed(cfg.id)
    env = make_env(cfg)
    spec = spec_of(env, cfg)
    assert (spec.obs_shape, spec.obs_dtype, spec.action.kind) == (obs_shape, obs_dtype, kind)
    assert spec.frame_channels == (obs_shape[0] // cfg.frame_stack if obs_dtype == "uint8" else 0)
    if kind == "discrete":
        assert (spec.action.sizes, spec.action.shape) == ((actions,), ())
    else:
        assert spec.action.shape == actions
        assert len(spec.action.low) == len(spec.action.high) == actions[0]
    decode = action_decoder(env.action_space)
    obs, _ = env.reset(seed=0)
    for _ in range(3):
        assert (obs.shape, obs.dtype) == (obs_shape, env.observation_space.dtype)
        assert obs in env.observation_space
        obs, reward, *_ = env.step(decode(np.zeros((1, *spec.action.shape), spec.action.dtype))[0])
        assert np.isfinite(reward)
    assert (obs.shape, obs.dtype) == (obs_shape, env.observation_space.dtype)
    env.close()


@pytest.mark.parametrize(
    ("env_id", "expected"),
    [
        ("TestDiscrete-v0", [0, 1, 0, 0]),  # the second of 1, 2, 3, 4
        ("TestMultiBinary-v0", [1, 0, 1]),
        ("TestMultiDiscrete-v0", [0, 1, 0, 0, 1]),
        ("TestDict-v0", [0.5, 0, 1]),  # keys in alphabetical order
        ("TestTuple-v0", [0, 0, 1, 1, 0]),
        ("TestMatrix-v0", [1, 2, 3, 4]),
        ("TestScalar-v0", [7]),
    ],
)
def test_observations_of_fixed_size_are_flattened(env_id, expected):
    assert first(env_id).tolist() == expected


def test_frozenlake_observation_is_one_hot():
    env = made("FrozenLake-v1", kwargs={"is_slippery": False})
    obs, _ = env.reset(seed=0)
    assert obs.tolist() == np.eye(16)[0].tolist()
    obs, *_ = env.step(2)  # one square to the right
    assert obs.tolist() == np.eye(16)[1].tolist()


def test_blackjack_observation_is_three_one_hots():
    hand, dealer, ace = gym.make("Blackjack-v1").reset(seed=3)[0]
    obs, _ = made("Blackjack-v1").reset(seed=3)
    assert obs.shape == (32 + 11 + 2,)
    assert np.flatnonzero(obs).tolist() == [hand, 32 + dealer, 43 + ace]
    assert obs.sum() == 3


def test_stacked_vectors_are_the_last_observations_oldest_first():
    env = made("TestLine-v0", frame_stack=3)
    obs, _ = env.reset(seed=0)
    assert obs.tolist() == [0, 0, 0, 0, 0, 0]
    rows = [env.step(0)[0].tolist() for _ in range(4)]
    assert rows[0] == [0, 0, 0, 0, 1, -1]
    assert rows[1:] == [[0, 0, 1, -1, 2, -2], [1, -1, 2, -2, 3, -3], [2, -2, 3, -3, 4, -4]]
    assert env.reset()[0].tolist() == [0, 0, 0, 0, 0, 0]


def test_color_pixels_become_channels_first():
    obs = first("TestPixels-v0")
    assert (obs.shape, obs.dtype) == ((3, 40, 48), np.uint8)
    left, right = obs[:, :, :24], obs[:, :, 24:]
    for channel, (a, b) in enumerate([(200, 0), (0, 100), (0, 0)]):
        assert (left[channel] == a).all()
        assert (right[channel] == b).all()


def test_stacked_color_frames_keep_their_channels_together():
    env = made("TestPixels-v0", frame_stack=2)
    env.reset(seed=0)
    obs, *_ = env.step(0)
    assert obs.shape == (6, 40, 48)
    assert obs[:, 0, 0].tolist() == [200, 0, 0, 0, 0, 50]  # red, then blue
    assert obs[:, 39, 47].tolist() == [0, 100, 0, 60, 60, 60]  # green, then gray
    assert spec_of(env, env_config("TestPixels-v0", frame_stack=2)).frame_channels == 3


def test_grayscale_weights_colors_and_stacks_frames_as_channels():
    env = made("TestPixels-v0", grayscale=True, frame_stack=2)
    env.reset(seed=0)
    obs, *_ = env.step(0)
    assert (obs.shape, obs.dtype) == ((2, 40, 48), np.uint8)
    # 0.2125 * 200 = 42.5, 0.7154 * 100 = 71.5; 0.0721 * 50 = 3.6, 60: truncated to integers
    corners = obs[:, 0, [0, 47]].astype(int)
    assert np.abs(corners - [[42, 71], [3, 60]]).max() <= 1


@pytest.mark.parametrize(
    ("env_id", "channels"), [("TestGray-v0", 1), ("TestGrayChannel-v0", 1), ("TestPixels-v0", 3)]
)
def test_pixels_are_resized_to_a_square(env_id, channels):
    obs = first(env_id, resize=36)
    assert (obs.shape, obs.dtype) == ((channels, 36, 36), np.uint8)
    assert (obs[0, :, 0] == 200).all()
    assert (obs[0, :, 35] == 0).all()


@pytest.mark.parametrize("env_id", ["TestGray-v0", "TestGrayChannel-v0"])
def test_grayscale_leaves_gray_pixels_unchanged(env_id):
    obs = first(env_id, grayscale=True)
    assert obs.shape == (1, 40, 48)
    assert obs[0, 0, [0, 47]].tolist() == [200, 0]


def test_frame_skip_sums_rewards_and_stops_at_termination():
    env = made("TestLine-v0", frame_skip=3)
    env.reset(seed=0)
    obs, reward, terminated, truncated, _ = env.step(0)
    assert (obs.tolist(), reward, terminated, truncated) == ([3, -3], 1 + 2 + 3, False, False)
    obs, reward, terminated, truncated, _ = env.step(0)
    assert (obs.tolist(), reward, terminated, truncated) == ([4, -4], 4, True, False)


def test_frame_skip_stops_at_the_time_limit():
    env = made("TestLine-v0", frame_skip=3, max_episode_steps=2)
    env.reset(seed=0)
    obs, reward, terminated, truncated, _ = env.step(0)
    assert (obs.tolist(), reward, terminated, truncated) == ([2, -2], 1 + 2, False, True)


def test_time_limit_defaults_to_the_registered_one():
    for limit, expected in ((None, 200), (7, 7)):
        env = made("Pendulum-v1", max_episode_steps=limit)
        env.reset(seed=0)
        ends = [env.step(np.zeros(1, np.float32))[3] for _ in range(expected)]
        assert np.flatnonzero(ends).tolist() == [expected - 1]


@pytest.mark.parametrize(
    ("env_id", "changes", "what", "where", "fix"),
    [
        ("CartPol-v1", {}, "`CartPol` doesn't exist", "env.id=CartPol-v1", "CartPole-v1?"),
        ("LunarLander-v2", {}, "deprecated", "env.id=LunarLander-v2", "LunarLander-v3?"),
        ("CartPole-v7", {}, "`v7`", "env.id=CartPole-v7", "CartPole-v"),
        ("Qqqq/Zzzz-v0", {}, "Namespace Qqqq", "env.id=Qqqq/Zzzz-v0", "module:Id-v0"),
        ("a b", {}, "Malformed", "env.id=a b", "module:Id-v0"),
        (
            "no_such_module:Any-v0",
            {},
            "No module named 'no_such_module'",
            "env.id=no_such_module:Any-v0",
            "the folder that contains the module",
        ),
        (
            "CartPole-v1",
            {"kwargs": {"gravty": 1}},
            "gravty",
            "env.kwargs.gravty=1",
            "its arguments: sutton",
        ),
        (
            "CartPole-v1",
            {"grayscale": True},
            "applies to pixel",
            "env.grayscale",
            "leave env.grayscale out",
        ),
        ("CartPole-v1", {"resize": 64}, "applies to pixel", "env.resize", "leave env.resize out"),
        ("TestPixels-v0", {"normalize_obs": True}, "[0, 1]", "env.normalize_obs=true", "leave"),
        ("TestSequence-v0", {}, "fixed size: Sequence", "env.id=TestSequence-v0", "Dict or Tuple"),
        ("TestGraph-v0", {}, "fixed size: Graph", "env.id=TestGraph-v0", "Dict or Tuple"),
    ],
)
def test_env_that_cannot_be_made_raises_with_what_where_and_fix(env_id, changes, what, where, fix):
    with pytest.raises(BadInput) as caught:
        made(env_id, **changes)
    assert what in caught.value.what
    assert where in caught.value.where
    assert fix in caught.value.fix
    assert "\n" not in caught.value.what


class NoRenderer(gym.Env):
    """Its constructor takes no argument render_mode."""

    observation_space, action_space = LINE, spaces.Discrete(2)

    def __init__(self, length=5):
        self.length = length


gym.register("TestNoRenderer-v0", NoRenderer)


def test_env_without_a_renderer_is_made_and_a_video_of_it_refused_in_plain_words():
    cfg = env_config("TestNoRenderer-v0", kwargs={"length": 3})
    assert make_env(cfg).unwrapped.length == 3
    with pytest.raises(BadInput) as caught:
        make_env(cfg, "rgb_array")
    assert caught.value.what == (
        "TestNoRenderer-v0 has no renderer: it takes no argument render_mode"
    )


@pytest.mark.parametrize(
    ("env_id", "error", "extra"),
    [
        (
            "Ant-v5",
            gym.error.DependencyNotInstalled(
                'MuJoCo is not installed, run `pip install "gymnasium[mujoco]"`'
            ),
            "mujoco",
        ),
        ("ALE/Pong-v5", gym.error.NamespaceNotFound("Namespace ALE not found."), "atari"),
    ],
)
def test_missing_package_raises_with_the_pip_command(monkeypatch, env_id, error, extra):
    def missing(*_, **__):
        raise error

    monkeypatch.setattr("gymnasium.make", missing)
    with pytest.raises(BadInput) as caught:
        made(env_id)
    assert caught.value.where == f"env.id={env_id}"
    assert caught.value.fix == f'from a clone: pip install -c constraints.txt ".[{extra}]"'


def test_every_extra_in_a_pip_command_exists():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


MODULE = """
import gymnasium as gym
import numpy as np

class Own(gym.Env):
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0, 9, (1,), np.float32)

    def __init__(self, level=0, render_mode=None):
        self.level = level

    def reset(self, *, seed=None, options=None):
        return np.array([self.level], np.float32), {}

gym.register("TestOwn-v0", entry_point=Own)
"""


def test_env_module_in_the_current_folder_is_imported(here, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (here / "envs_of_a_test.py").write_text(MODULE)
    assert first("envs_of_a_test:TestOwn-v0", kwargs={"level": 4}).tolist() == [4]


@pytest.mark.parametrize(
    "env_id",
    ["BipedalWalker-v3", "LunarLander-v3", "CartPole-v1", "MountainCar-v0", "Acrobot-v1"],
)
def test_used_env_gives_the_same_episode_as_a_new_one(env_id):
    """Fails if a physics world is kept across episodes, with its cached contacts."""

    def episode(env, seed):
        rng = np.random.default_rng(seed)
        obs, _ = env.reset(seed=seed)
        rows, ended = [np.asarray(obs)], False
        space = env.action_space
        while not ended and len(rows) < 150:
            box = isinstance(space, spaces.Box)
            action = rng.uniform(-1, 1, space.shape) if box else int(rng.integers(space.n))
            obs, _, terminated, truncated, _ = env.step(action)
            rows.append(np.asarray(obs))
            ended = terminated or truncated
        return np.array(rows)

    used = made(env_id)
    for seed in range(6):
        fresh = made(env_id)
        np.testing.assert_array_equal(episode(used, seed), episode(fresh, seed))
