"""Vectorized envs: contents of transitions, autoreset, normalization, resume in mid-episode."""

from __future__ import annotations

import json
from itertools import count

import gymnasium as gym
import numpy as np
import pytest
import safetensors.numpy
from gymnasium import spaces

from rl_cli.core.types import Episode
from rl_cli.envs.vector import VectorEnv
from rl_cli.storage.serialization import pack, unpack
from tests.algos.test_algorithms import env_config


class Clock(gym.Env):
    """Observation (episode, step); the reward of step t is t; terminates at step `ends` if given."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    observation_space = spaces.Box(0, 99, (2,), np.float32)

    def __init__(self, ends=None, render_mode=None):
        self.ends, self.episode, self.t, self.taken = ends, -1, 0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self.now(), {}

    def step(self, action):
        self.t += 1
        self.taken.append(float(action[0]))
        return self.now(), float(self.t), self.t == self.ends, False, {}

    def now(self):
        return np.array([self.episode, self.t], np.float32)


class Fickle(Clock):
    """Observations that do not depend on the seed."""

    numbers = count()

    def now(self):
        return np.array([next(self.numbers), 0], np.float32)


class InfoLifeLost(Clock):
    """Reports `life_lost` in every step."""

    def step(self, action):
        return *super().step(action)[:4], {"life_lost": True}


gym.register("TestEndsAt3-v0", Clock, kwargs={"ends": 3})
gym.register("TestClock-v0", Clock)
gym.register("TestFickle-v0", Fickle)
gym.register("TestLives-v0", InfoLifeLost)


def vector(env_id, num_envs, seed=100, **changes):
    cfg = env_config(env_id, num_envs=num_envs, **changes)
    return VectorEnv(cfg, [seed + i for i in range(num_envs)])


def idle(num_envs):
    """Actions for Clock."""
    return np.zeros((num_envs, 1), np.float32)


def test_transition_shapes_and_dtypes():
    envs = vector("Pendulum-v1", 3)
    obs = envs.reset()
    transition, next_obs = envs.step(np.zeros((3, 1), np.float32))
    for array in (obs, transition.obs, transition.next_obs, next_obs):
        assert (array.shape, array.dtype) == ((3, 3), np.float32)
    assert (transition.action.shape, transition.action.dtype) == ((3, 1), np.float32)
    assert transition.reward.shape == (3,)
    for flags in (transition.terminated, transition.truncated):
        assert (flags.shape, flags.dtype) == ((3,), bool)


@pytest.mark.parametrize("normalize_reward", [False, True])
def test_rewards_are_float32(normalize_reward):
    envs = vector("TestClock-v0", 2, normalize_reward=normalize_reward)
    envs.reset()
    assert envs.step(idle(2))[0].reward.dtype == np.float32


def test_ended_env_is_reset_in_the_same_step_and_next_obs_is_final():
    envs = vector("TestEndsAt3-v0", 2)
    assert envs.reset().tolist() == [[0, 0], [0, 0]]
    envs.step(idle(2))
    envs.step(idle(2))
    transition, obs = envs.step(idle(2))
    assert transition.obs.tolist() == [[0, 2], [0, 2]]
    assert transition.next_obs.tolist() == [[0, 3], [0, 3]]
    assert transition.terminated.tolist() == [True, True]
    assert transition.truncated.tolist() == [False, False]
    assert obs.tolist() == [[1, 0], [1, 0]]
    transition, obs = envs.step(idle(2))
    assert transition.obs.tolist() == [[1, 0], [1, 0]]
    assert transition.next_obs.tolist() == obs.tolist() == [[1, 1], [1, 1]]
    assert envs.take_episodes() == [Episode(1 + 2 + 3, 3)] * 2
    assert envs.take_episodes() == []


def test_time_limit_truncates():
    envs = vector("TestClock-v0", 1, max_episode_steps=2)
    envs.reset()
    flags = [[bool(ends[0]) for ends in envs.step(idle(1))[0][-2:]] for _ in range(4)]
    assert flags == [[False, False], [False, True], [False, False], [False, True]]
    assert envs.take_episodes() == [Episode(1 + 2, 2)] * 2


def test_termination_at_the_time_limit_sets_both_flags_and_counts_one_episode():
    envs = vector("TestEndsAt3-v0", 1, max_episode_steps=3)
    envs.reset()
    transition = [envs.step(idle(1))[0] for _ in range(3)][-1]
    assert (transition.terminated.tolist(), transition.truncated.tolist()) == ([True], [True])
    assert envs.take_episodes() == [Episode(6, 3)]  # one episode, not two


def test_three_cartpoles_equal_three_gymnasium_envs():
    """Observations, rewards, flags and episodes over 300 steps, about one episode end every 20."""
    envs = vector("CartPole-v1", 3)
    plain = [gym.make("CartPole-v1") for _ in range(3)]
    expected = np.array([env.reset(seed=100 + i)[0] for i, env in enumerate(plain)])
    assert np.array_equal(envs.reset(), expected)
    rng = np.random.default_rng(0)
    finished, lengths = [], [0, 0, 0]
    for _ in range(300):
        actions = rng.integers(2, size=3)
        transition, obs = envs.step(actions)
        assert np.array_equal(transition.obs, expected)
        assert np.array_equal(transition.action, actions)
        for i, env in enumerate(plain):
            expected[i], reward, terminated, truncated, _ = env.step(int(actions[i]))
            assert np.array_equal(transition.next_obs[i], expected[i])
            assert transition.reward[i] == reward
            assert transition.terminated[i] == terminated
            assert transition.truncated[i] == truncated
            lengths[i] += 1
            if terminated or truncated:
                finished.append(Episode(lengths[i], lengths[i]))  # CartPole pays 1 a step
                expected[i], _ = env.reset()
                lengths[i] = 0
        assert np.array_equal(obs, expected)
    assert len(finished) > 20
    assert envs.take_episodes() == finished


@pytest.mark.parametrize("normalize_obs", [False, True])
@pytest.mark.parametrize("num_stepped", [2, 3])
def test_transition_is_unchanged_until_the_next_step(normalize_obs, num_stepped):
    """Neither resets nor the observations to act on are written into its arrays."""
    envs = vector("CartPole-v1", 3, normalize_obs=normalize_obs)
    obs = envs.reset()
    ends = 0
    for t in range(100):
        n = num_stepped if t % 7 == 0 else 3
        held, shown = obs, obs.copy()
        transition, obs = envs.step(np.ones(n, np.int64))
        assert np.array_equal(transition.obs, shown[:n])
        assert np.array_equal(held, shown)  # the observations acted on are unchanged too
        done = transition.terminated | transition.truncated
        ends += done.sum()
        running = ~done
        assert np.array_equal(transition.next_obs[running], obs[:n][running])
        # pushed right until it fell: the pole angle is larger than after any reset
        assert (
            np.abs(transition.next_obs[done] - obs[:n][done]).max(axis=1, initial=0) > 0.1
        ).all()
        assert np.array_equal(obs[n:], shown[n:])
    assert ends > 20


def test_step_of_the_first_envs_leaves_the_others_unchanged():
    envs = vector("TestEndsAt3-v0", 3)
    envs.reset()
    envs.step(idle(3))
    envs.step(idle(3))
    transition, obs = envs.step(idle(1))
    assert [len(array) for array in transition] == [1] * 6
    assert transition.next_obs.tolist() == [[0, 3]]
    assert obs.tolist() == [[1, 0], [0, 2], [0, 2]]
    assert envs.take_episodes() == [Episode(6, 3)]
    transition, obs = envs.step(idle(3))
    assert transition.obs.tolist() == [[1, 0], [0, 2], [0, 2]]
    assert transition.next_obs.tolist() == [[1, 1], [0, 3], [0, 3]]
    assert obs.tolist() == [[1, 1], [1, 0], [1, 0]]
    assert envs.take_episodes() == [Episode(6, 3)] * 2


def test_actions_are_clipped_for_the_env_but_not_in_the_transition():
    envs = vector("TestClock-v0", 2)
    envs.reset()
    chosen = np.array([[-3.0], [0.5]], np.float32)
    transition, _ = envs.step(chosen)
    assert [env.unwrapped.taken for env in envs.envs] == [[-1.0], [0.5]]
    assert transition.action.tolist() == [[-3.0], [0.5]]


def test_observation_statistics_count_each_row_once():
    """First, next and reset observations, plus the prior of one row with mean 0 and variance 1."""
    raw, normalized = (vector("CartPole-v1", 3, normalize_obs=on) for on in (False, True))
    rows = [*raw.reset().copy()]
    normalized.reset()
    rng = np.random.default_rng(0)
    for t in range(100):
        actions = rng.integers(2, size=3 if t % 9 else 2)
        transition, obs = raw.step(actions)
        normalized.step(actions)
        done = np.flatnonzero(transition.terminated | transition.truncated)
        rows += [*transition.next_obs.copy(), *obs[done].copy()]
    rows = np.array(rows, np.float64)
    moments = normalized.obs_normalizer.moments
    number = 1 + len(rows)
    mean = rows.sum(0) / number
    variance = (1 + np.square(rows).sum(0)) / number - np.square(mean)
    assert moments.count == number
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-9)


def test_episode_returns_sum_raw_rewards():
    envs = vector("TestEndsAt3-v0", 1, normalize_reward=True, normalize_obs=True)
    envs.reset()
    rewards = [envs.step(idle(1))[0].reward[0] for _ in range(3)]
    assert envs.take_episodes() == [Episode(6, 3)]
    assert not np.isclose(rewards, [1, 2, 3]).any()


# Resume in mid-episode


def saved(envs):
    """A function that returns the state as read from the bytes of a checkpoint."""
    tree, arrays, _ = pack(
        {"envs": envs.state_dict(), "moments": envs.obs_normalizer.moments.state_dict()}
    )
    tree, data = json.dumps(tree), safetensors.numpy.save(arrays)
    return lambda: unpack(json.loads(tree), safetensors.numpy.load(data), {}.__getitem__)


def chosen(envs, rng):
    kind = envs.spec.action
    if kind.kind == "discrete":
        return rng.integers(kind.sizes[0], size=envs.num_envs)
    return rng.normal(size=(envs.num_envs, *kind.shape)).astype(np.float32)


def after_an_end(envs, rng):
    """Step until an episode has just ended, so that the current one has no actions."""
    envs.take_episodes()
    while not envs.episodes:
        envs.step(chosen(envs, rng))
    envs.take_episodes()


@pytest.mark.parametrize(
    ("env_id", "steps"),
    [
        ("CartPole-v1", 7),  # in the first episode, started from a seed
        ("CartPole-v1", 90),  # in a later episode, started from the env's random stream
        ("CartPole-v1", "end"),
        ("Pendulum-v1", 150),
        ("Pendulum-v1", 230),
        ("LunarLander-v3", 40),
        ("LunarLander-v3", 250),
    ],
)
def test_resume_in_mid_episode_is_bit_exact(env_id, steps):
    both = {"normalize_obs": True, "normalize_reward": True}
    whole = vector(env_id, 2, **both)
    rng = np.random.default_rng(0)
    whole.reset()
    if steps == "end":
        after_an_end(whole, rng)
    else:
        for _ in range(steps):
            whole.step(chosen(whole, rng))
        assert any(map(len, whole.actions))
    whole.take_episodes()
    state = saved(whole)()

    resumed = vector(env_id, 2, seed=999, **both)
    resumed.obs_normalizer.moments.load_state_dict(state["moments"])
    assert resumed.load_state_dict(state["envs"]) == []
    assert np.array_equal(resumed.obs, whole.obs)
    for t in range(250):
        actions = chosen(whole, rng)
        expected, expected_obs = whole.step(actions)
        transition, obs = resumed.step(actions)
        for name, value in expected._asdict().items():
            assert np.array_equal(getattr(transition, name), value), (name, t)
        assert np.array_equal(obs, expected_obs)
    episodes = whole.take_episodes()
    assert len(episodes) >= 2
    assert resumed.take_episodes() == episodes


def test_resumed_envs_can_be_saved_and_resumed_again():
    first = vector("CartPole-v1", 2, normalize_obs=True)
    rng = np.random.default_rng(0)
    first.reset()
    for _ in range(8):
        first.step(chosen(first, rng))
    state = saved(first)()
    second = vector("CartPole-v1", 2, seed=999, normalize_obs=True)
    second.obs_normalizer.moments.load_state_dict(state["moments"])
    second.load_state_dict(state["envs"])
    for _ in range(3):  # an episode has at least eight steps
        second.step(chosen(second, rng))
    state = saved(second)()
    third = vector("CartPole-v1", 2, seed=55, normalize_obs=True)
    third.obs_normalizer.moments.load_state_dict(state["moments"])
    assert third.load_state_dict(state["envs"]) == []
    assert np.array_equal(third.obs, second.obs)
    assert np.array_equal(third.lengths, second.lengths)


@pytest.mark.parametrize("stepped", [1, 2])
def test_resume_after_a_step_of_fewer_envs_is_bit_exact(stepped):
    """The last step of a budget, in a run that continues with a larger budget."""
    whole = vector("CartPole-v1", 3, normalize_obs=True)
    rng = np.random.default_rng(0)
    whole.reset()
    for _ in range(40):
        whole.step(chosen(whole, rng))
    whole.step(chosen(whole, rng)[:stepped])
    state = saved(whole)()
    resumed = vector("CartPole-v1", 3, seed=999, normalize_obs=True)
    resumed.obs_normalizer.moments.load_state_dict(state["moments"])
    assert resumed.load_state_dict(state["envs"]) == []
    for _ in range(40):
        actions = chosen(whole, rng)
        (expected, expected_obs), (got, obs) = whole.step(actions), resumed.step(actions)
        assert np.array_equal(got.obs, expected.obs)
        assert np.array_equal(got.next_obs, expected.next_obs)
        assert np.array_equal(obs, expected_obs)


def test_inexact_replay_is_reported_and_starts_new_episodes():
    envs = vector("TestFickle-v0", 2, normalize_obs=True)
    envs.reset()
    for _ in range(3):
        envs.step(idle(2))
    state = saved(envs)()
    resumed = vector("TestFickle-v0", 2, normalize_obs=True)
    resumed.obs_normalizer.moments.load_state_dict(state["moments"])
    assert resumed.load_state_dict(state["envs"]) == [0, 1]
    assert (resumed.lengths, resumed.returns) == ([0, 0], [0.0, 0.0])  # new episodes
    assert resumed.take_episodes() == []
    transition, _ = resumed.step(idle(2))
    assert np.isfinite(transition.next_obs).all()


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_resume_at_an_episode_end_with_vector_actions(steps):
    """After step 5 the current episode has no actions: its array is saved with shape (0,)."""
    envs, resumed = (
        vector("LunarLander-v3", 2, kwargs={"continuous": True}, max_episode_steps=5)
        for _ in range(2)
    )
    envs.reset(), resumed.reset()
    rng = np.random.default_rng(0)
    for _ in range(steps):
        envs.step(rng.uniform(-1, 1, (2, 2)).astype(np.float32))
    assert resumed.load_state_dict(unpack(*pack(envs.state_dict())[:2], {}.__getitem__)) == []
    action = rng.uniform(-1, 1, (2, 2)).astype(np.float32)
    (expected, obs), (found, other) = envs.step(action), resumed.step(action)
    assert np.array_equal(obs, other)
    assert np.array_equal(expected.next_obs, found.next_obs)


def test_record_episodes_keeps_start_states_and_actions():
    envs = vector("TestEndsAt3-v0", 1)
    envs.reset()
    for _ in range(3):
        envs.step(idle(1))
    assert envs.take_recordings() == []  # off by default
    envs.record_episodes(True)
    for t in range(3):
        envs.step(idle(1) + np.float32(t / 4))
    (recording,) = envs.take_recordings()
    assert recording.episode == Episode(6, 3)
    assert set(recording.start_state) == {"rng", "globals", "spaces"}
    assert np.array(recording.actions).ravel().tolist() == [0.0, 0.25, 0.5]
    envs.record_episodes(False)
    for _ in range(3):
        envs.step(idle(1))
    assert envs.take_recordings() == []


def test_life_lost_is_ignored_without_episodic_life():
    """The key belongs to our Atari wrapper; an env of the user's may use it for anything."""
    envs = vector("TestLives-v0", 1)
    envs.reset()
    assert not envs.step(idle(1))[0].terminated[0]
