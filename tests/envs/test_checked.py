"""What an env returns, against what its spaces say."""

from __future__ import annotations

import json
import signal
from decimal import Decimal
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.errors import EnvFault, NonFinite
from rl_cli.envs.checked import conform, flag_of, reward_of
from rl_cli.envs.faults import env_fault, is_signal
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.evaluator import Evaluator
from rl_cli.storage.atomic_files import write_json
from tests.algos.test_algorithms import env_config

BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
BYTES = spaces.Box(0, 255, (2,), np.uint8)
DICT = spaces.Dict({"at": BOX, "on": spaces.MultiBinary(2)})


@pytest.mark.parametrize(
    ("space", "given", "expected"),
    [
        (BOX, [0.5, 1], np.array([0.5, 1.0], np.float32)),
        (BOX, np.array([True, False]), np.array([1.0, 0.0], np.float32)),
        (BYTES, np.array([0.0, 255.0]), np.array([0, 255], np.uint8)),
        (BYTES, [7, 8], np.array([7, 8], np.uint8)),
        (spaces.Discrete(3, start=-1), np.int32(-1), -1),
        (spaces.MultiDiscrete([2, 3]), (1, 2), np.array([1, 2])),
        (spaces.MultiBinary(2), [0, 1], np.array([0, 1], np.int8)),
        (DICT, {"on": [1, 1], "at": [0, 0]}, {"at": np.zeros(2), "on": np.ones(2)}),
        (spaces.Tuple([BOX, spaces.Discrete(2)]), ([0, 0], 1), (np.zeros(2), 1)),
    ],
)
def test_observation_that_fits_keeps_its_values(space, given, expected):
    found = conform(space, given)
    np.testing.assert_equal(found, expected)
    if isinstance(space, spaces.Box):
        assert found.dtype == space.dtype
    assert space.contains(found)


@pytest.mark.parametrize(
    ("space", "given", "part"),
    [
        (BOX, np.zeros((2, 1)), "shape (2, 1); its space declares shape (2,)"),
        (BOX, [[0], [0, 1]], "a value of type list"),
        (BOX, np.ma.array([0.5, 0.5], mask=[True, False]), "with masked values"),
        (BYTES, [0.5, 0], "with 0.5; its space declares dtype uint8"),
        (BYTES, [256, 0], "with 256"),
        (spaces.Box(-9, 9, (1,), np.int8), [-129], "with -129"),
        (spaces.Discrete(3, start=-1), 2, "with 2; its space declares -1 to 1"),
        (spaces.MultiDiscrete([2, 3]), [1, 3], "with 3; its space declares 0 to 2"),
        (spaces.MultiBinary(2), [0, 2], "with 2; its space declares 0 to 1"),
        (DICT, {"at": [0, 0]}, "a dict of at, on"),
        (DICT, {"at": [0, 0, 0], "on": [0, 0]}, "observation['at'] of shape (3,)"),
        (spaces.Tuple([BOX, BOX]), ([0, 0],), "a tuple of 2"),
        (BOX, np.array(["2026", "2027"], "M8[Y]"), "dtype datetime64"),
    ],
)
def test_observation_that_does_not_fit_is_refused(space, given, part):
    with pytest.raises(EnvFault) as caught:
        conform(space, given)
    assert part in caught.value.what


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_integers_that_are_not_finite(value):
    with pytest.raises(NonFinite, match=f"with {value}, declared as uint8"):
        conform(BYTES, [0.0, value])


def test_rewards_and_flags_of_one_number():
    torch = pytest.importorskip("torch")
    for one in (1, 1.0, True, np.float32(1), np.ones((1, 1)), torch.tensor([1.0])):
        assert type(reward_of(one)) is float
        assert reward_of(one) == 1.0
        assert flag_of(one, "terminated") is True
    half, tracked = torch.tensor(1.0).bfloat16(), torch.tensor(1.0, requires_grad=True)
    for one in (Decimal(1), Fraction(1), half, tracked, np.array(1, object)):
        assert reward_of(one) == 1.0
    assert reward_of(-(10**400)) == -np.inf
    for missing in (np.ma.masked, np.ma.array([1.0], mask=[True]), np.timedelta64(1)):
        with pytest.raises(EnvFault, match="not a number"):
            reward_of(missing)
    for other in ("1", None, 1j, [1, 2], {}, np.array(["1"])):
        with pytest.raises(EnvFault, match="not a number"):
            reward_of(other)
        with pytest.raises(EnvFault, match="neither true nor false"):
            flag_of(other, "terminated")
    with pytest.raises(EnvFault, match="terminated=nan"):
        flag_of(float("nan"), "terminated")


class Takes(gym.Env):
    """Asserts that an action is as `action_space.sample()` gives it."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    SPACES = (
        spaces.Discrete(3, start=5), spaces.MultiDiscrete([2, 3], start=[1, 1]),
        spaces.Box(-1.0, 1.0, (2,), np.float64), spaces.Discrete(3, dtype=np.int32),
    )  # fmt: skip

    def __init__(self, which=0, render_mode=None):
        self.action_space = self.SPACES[which]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        sample = self.action_space.sample()
        assert type(action) is type(sample)
        assert action.dtype == sample.dtype
        assert action.shape == sample.shape
        assert self.action_space.contains(action)
        if isinstance(self.action_space, spaces.Discrete):
            assert action.item() == int(action)
        return np.zeros(1, np.float32), 0.0, True, False, {}


gym.register("TestTakes-v0", Takes)


@pytest.mark.parametrize("which", range(len(Takes.SPACES)))
def test_actions_have_the_type_that_the_space_samples(which):
    cfg = env_config("TestTakes-v0", kwargs={"which": which})
    envs = VectorEnv(cfg, [0])
    action = np.zeros((1, *envs.spec.action.shape), envs.spec.action.dtype)
    envs.reset()
    envs.step(action)
    Evaluator(cfg, None).episode(lambda obs, rng: action, 0, True)


class Reuses(gym.Env):
    """Returns one array each time: its first number is the step. Positions near 1e8, in float64."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, render_mode=None):
        self.array = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.array[:] = 0.0, 1e8 - 1
        return self.array, {}

    def step(self, action):
        self.array[0] += 1
        self.array[1] = 1e8 + (1 if self.array[0] % 2 else -1)
        return self.array, 0.0, False, False, {}


gym.register("TestReuses-v0", Reuses)


def test_stacked_frames_are_copies():
    envs = VectorEnv(env_config("TestReuses-v0", frame_stack=3), [0])
    envs.reset()
    for _ in range(4):
        envs.step(np.array([0]))
    assert envs.obs.reshape(3, 2)[:, 0].tolist() == [2, 3, 4]


def test_declared_float64_is_normalized_before_it_is_cut():
    """A float32 of 1e8 +- 1 is 1e8: the two positions would be one."""
    envs = VectorEnv(env_config("TestReuses-v0", normalize_obs=True, num_envs=2), [0, 1])
    envs.reset()
    seen = []
    for _ in range(400):
        envs.step(np.array([0, 0]))
        seen.append(float(envs.obs[0, 1]))
    mean, variance = envs.obs_normalizer.moments.mean[1], envs.obs_normalizer.moments.variance[1]
    assert envs.raw.dtype == np.float64
    assert envs.obs.dtype == np.float32
    last, before = ((1e8 + x - mean) / np.sqrt(variance + 1e-8) for x in (-1, 1))
    assert seen[-1] == np.float32(last)
    assert seen[-1] != seen[-2]
    assert before > last


def test_float64_beyond_float32_is_refused():
    envs = VectorEnv(env_config("TestReuses-v0", normalize_obs=True), [0])
    envs.reset()
    envs.envs[0].unwrapped.array[0] = 1e39
    with pytest.raises(NonFinite, match="observation with 1e\\+39 at 0"):
        envs.step(np.array([0]))


def test_checkpoint_with_float32_observations_continues():
    """Earlier versions saved them so; the replay is compared at that precision."""
    envs, other = (
        VectorEnv(env_config("TestReuses-v0", normalize_obs=True), [0]) for _ in range(2)
    )
    envs.reset()
    envs.step(np.array([1]))
    state = envs.state_dict()
    assert other.load_state_dict(state | {"raw": envs.raw.astype(np.float32)}) == []


def test_json_has_no_numbers_that_json_lacks(tmp_path):
    value = {"a": float("nan"), "b": [1.0, float("inf"), (float("-inf"), "x")], "c": {"d": 2}}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.0, None, [None, "x"]],
        "c": {"d": 2},
    }


def test_keyboard_interrupt_of_a_signal_is_not_the_env_s():
    with pytest.raises(KeyboardInterrupt) as of_signal:
        signal.raise_signal(signal.SIGINT)
    assert is_signal(of_signal.value)
    with pytest.raises(KeyboardInterrupt):
        env_fault(of_signal.value, "here")
    with pytest.raises(KeyboardInterrupt) as own:
        raise KeyboardInterrupt
    assert not is_signal(own.value)
    assert "the env raised KeyboardInterrupt" in env_fault(own.value, "here").what


def test_normalizer_s_mean_and_std_are_what_it_applies():
    normalizer = ObservationNormalizer((2,), 5.0)
    normalizer.observe(np.array([[1.0, 2.0], [3.0, 9.0]]))
    mean, std = normalizer.mean_and_std()
    obs = np.array([[2.5, 80.0]])
    expected = np.clip((obs - mean) / std, -5.0, 5.0).astype(np.float32)
    assert normalizer(obs).tolist() == expected.tolist()
