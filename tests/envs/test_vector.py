"""N envs side by side: what a transition holds, what comes after an end, standing there again."""

from __future__ import annotations

import json
import math
from itertools import count

import gymnasium as gym
import numpy as np
import pytest
import safetensors.numpy
from gymnasium import spaces

from rl_cli.core.errors import NonFinite
from rl_cli.core.types import Episode
from rl_cli.envs.vector import VectorEnv
from rl_cli.storage.serialization import pack, unpack
from tests.algos.test_algorithms import env_config


class Clock(gym.Env):
    """Shows (episode, step); the reward of step t is t; ends by itself at step `ends`, if ever."""

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
    """Shows numbers that no seed decides."""

    numbers = count()

    def now(self):
        return np.array([next(self.numbers), 0], np.float32)


gym.register("TestEndsAt3-v0", Clock, kwargs={"ends": 3})
gym.register("TestClock-v0", Clock)
gym.register("TestFickle-v0", Fickle)


def vector(env_id, num_envs, seed=100, **changes):
    cfg = env_config(env_id, num_envs=num_envs, **changes)
    return VectorEnv(cfg, [seed + i for i in range(num_envs)])


def idle(num_envs):
    """Actions of a Clock."""
    return np.zeros((num_envs, 1), np.float32)


def test_a_transition_has_the_shapes_and_types_it_says():
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


def test_an_env_that_ends_is_reset_in_the_same_step_and_its_last_observation_is_kept():
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


def test_a_time_limit_truncates_and_does_not_terminate():
    envs = vector("TestClock-v0", 1, max_episode_steps=2)
    envs.reset()
    flags = [[bool(ends[0]) for ends in envs.step(idle(1))[0][-2:]] for _ in range(4)]
    assert flags == [[False, False], [False, True], [False, False], [False, True]]
    assert envs.take_episodes() == [Episode(1 + 2, 2)] * 2


def test_an_episode_may_end_by_itself_in_the_step_its_time_is_up():
    envs = vector("TestEndsAt3-v0", 1, max_episode_steps=3)
    envs.reset()
    transition = [envs.step(idle(1))[0] for _ in range(3)][-1]
    assert (transition.terminated.tolist(), transition.truncated.tolist()) == ([True], [True])
    assert envs.take_episodes() == [Episode(6, 3)]  # one episode, not two


def test_three_cartpoles_do_what_three_plain_ones_do():
    """Observations, rewards, ends and episodes, for 300 steps with an end every twenty or so."""
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
def test_a_transition_stays_right_until_the_next_step(normalize_obs, num_stepped):
    """No later reset, nor the next observations, may be written into it."""
    envs = vector("CartPole-v1", 3, normalize_obs=normalize_obs)
    obs = envs.reset()
    ends = 0
    for t in range(100):
        n = num_stepped if t % 7 == 0 else 3
        held, shown = obs, obs.copy()
        transition, obs = envs.step(np.ones(n, np.int64))
        assert np.array_equal(transition.obs, shown[:n])
        assert np.array_equal(held, shown)  # what the agent saw, it may still look at
        done = transition.terminated | transition.truncated
        ends += done.sum()
        going_on = ~done
        assert np.array_equal(transition.next_obs[going_on], obs[:n][going_on])
        # pushed to the right until it fell: the pole leans further than after any reset
        assert (
            np.abs(transition.next_obs[done] - obs[:n][done]).max(axis=1, initial=0) > 0.1
        ).all()
        assert np.array_equal(obs[n:], shown[n:])
    assert ends > 20


def test_stepping_the_first_envs_leaves_the_others_where_they_were():
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


def test_actions_are_clipped_for_the_env_and_kept_as_chosen_for_the_agent():
    envs = vector("TestClock-v0", 2)
    envs.reset()
    chosen = np.array([[-3.0], [0.5]], np.float32)
    transition, _ = envs.step(chosen)
    assert [env.unwrapped.taken for env in envs.envs] == [[-1.0], [0.5]]
    assert transition.action.tolist() == [[-3.0], [0.5]]


def test_observation_statistics_count_every_row_once():
    """Of first, next and reset observations; and one row of mean 0 and variance 1 to begin with."""
    raw, normalised = (vector("CartPole-v1", 3, normalize_obs=on) for on in (False, True))
    rows = [*raw.reset().copy()]
    normalised.reset()
    rng = np.random.default_rng(0)
    for t in range(100):
        actions = rng.integers(2, size=3 if t % 9 else 2)
        transition, obs = raw.step(actions)
        normalised.step(actions)
        done = np.flatnonzero(transition.terminated | transition.truncated)
        rows += [*transition.next_obs.copy(), *obs[done].copy()]
    rows = np.array(rows, np.float64)
    moments = normalised.obs_normalizer.moments
    number = 1 + len(rows)
    mean = rows.sum(0) / number
    variance = (1 + np.square(rows).sum(0)) / number - np.square(mean)
    assert moments.count == number
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(moments.variance, variance, rtol=1e-9)


def test_episodes_are_counted_in_raw_rewards():
    envs = vector("TestEndsAt3-v0", 1, normalize_reward=True, normalize_obs=True)
    envs.reset()
    rewards = [envs.step(idle(1))[0].reward[0] for _ in range(3)]
    assert envs.take_episodes() == [Episode(6, 3)]
    assert not np.isclose(rewards, [1, 2, 3]).any()


# Standing at the same step again


def saved(envs):
    """What a checkpoint keeps of them, through the bytes of its files."""
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
    """Step until an episode has just ended and the next one has no actions yet."""
    envs.take_episodes()
    while not envs.episodes:
        envs.step(chosen(envs, rng))
    envs.take_episodes()


@pytest.mark.parametrize(
    ("env_id", "steps"),
    [
        ("CartPole-v1", 7),  # in the first episode, which began from a seed
        ("CartPole-v1", 90),  # in a later one, which began from the env's own stream
        ("CartPole-v1", "end"),
        ("Pendulum-v1", 150),
        ("Pendulum-v1", 230),
        ("LunarLander-v3", 40),
        ("LunarLander-v3", 250),
    ],
)
def test_what_was_saved_in_mid_episode_goes_on_identically(env_id, steps):
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


def test_what_was_resumed_can_be_saved_and_resumed_again():
    first = vector("CartPole-v1", 2, normalize_obs=True)
    rng = np.random.default_rng(0)
    first.reset()
    for _ in range(8):
        first.step(chosen(first, rng))
    state = saved(first)()
    second = vector("CartPole-v1", 2, seed=999, normalize_obs=True)
    second.obs_normalizer.moments.load_state_dict(state["moments"])
    second.load_state_dict(state["envs"])
    for _ in range(3):  # a pole stands for eight steps at least
        second.step(chosen(second, rng))
    state = saved(second)()
    third = vector("CartPole-v1", 2, seed=55, normalize_obs=True)
    third.obs_normalizer.moments.load_state_dict(state["moments"])
    assert third.load_state_dict(state["envs"]) == []
    assert np.array_equal(third.obs, second.obs)
    assert np.array_equal(third.lengths, second.lengths)


@pytest.mark.parametrize("stepped", [1, 2])
def test_what_was_saved_after_a_step_of_fewer_envs_goes_on_identically(stepped):
    """A budget's last step, of a run that is then given a larger budget."""
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


def test_an_env_that_does_not_come_back_to_where_it_was_is_told():
    envs = vector("TestFickle-v0", 2, normalize_obs=True)
    envs.reset()
    for _ in range(3):
        envs.step(idle(2))
    state = saved(envs)()
    resumed = vector("TestFickle-v0", 2, normalize_obs=True)
    resumed.obs_normalizer.moments.load_state_dict(state["moments"])
    assert resumed.load_state_dict(state["envs"]) == [0, 1]
    assert (resumed.lengths, resumed.returns) == ([0, 0], [0.0, 0.0])  # their episodes begin anew
    assert resumed.take_episodes() == []
    transition, _ = resumed.step(idle(2))
    assert np.isfinite(transition.next_obs).all()


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_an_env_with_several_actions_resumes_at_an_episodes_end_too(steps):
    """After step 5 the next episode has no actions yet, whose array has no second dimension."""
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


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 3, "reward"])
def test_a_number_that_is_none_is_named_whichever_way_it_is_looked_for(num_envs, value, at):
    """One env's short row is summed by Python, several ones' by numpy."""
    envs = VectorEnv(env_config("CartPole-v1", num_envs=num_envs), list(range(num_envs)))
    assert not envs.doubtful  # CartPole itself cannot give such numbers, and is not looked at
    envs.doubtful = True
    envs.reset()
    obs, last = np.full(4, 1e18, np.float32), envs.envs[-1]
    last.step = lambda action: (obs, value if at == "reward" else 1.0, False, False, {})
    if at != "reward":
        envs.step(np.zeros(num_envs, np.int64))
        obs[at] = value
    with pytest.raises(NonFinite) as caught:
        envs.step(np.zeros(num_envs, np.int64))
    assert str(value) in caught.value.what
    assert f"env={num_envs - 1}, step" in caught.value.where
