"""Evaluation with a fixed policy: only the seeds determine the episodes, and no statistic is updated."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core import memory
from rl_cli.core.types import Episode
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.evaluation.replay import load_agent
from rl_cli.storage.checkpoint_reader import find
from tests.algos.test_algorithms import env_config


class Ramp(gym.Env):
    """Observation and reward are the step number; terminates at step 3; `taken` lists the actions."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 24}  # noqa: RUF012
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    observation_space = spaces.Box(-9, 9, (1,), np.float64)

    def __init__(self, render_mode=None):
        self.t, self.taken = 0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.array([0.0]), {}

    def step(self, action):
        self.t += 1
        self.taken.append(float(action[0]))
        return np.array([float(self.t)]), float(self.t), self.t == 3, False, {}

    def render(self):
        return self.t


class NoFrameRate(Ramp):
    metadata = {"render_modes": []}  # noqa: RUF012


class Bytes(Ramp):
    """uint8 observations: a vector or an image."""

    def __init__(self, shape, render_mode=None):
        super().__init__()
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full(self.observation_space.shape, 255, np.uint8), {}

    def step(self, action):
        _, *rest = super().step(action)
        return np.full(self.observation_space.shape, 255, np.uint8), *rest


gym.register("TestRamp-v0", Ramp)
gym.register("TestNoFrameRate-v0", NoFrameRate)
gym.register("TestByteVector-v0", Bytes, kwargs={"shape": (5,)})
gym.register("TestByteImage-v0", Bytes, kwargs={"shape": (40, 40, 3)})


class RecordingPolicy:
    """A policy that always chooses the same action and records its arguments."""

    def __init__(self, action):
        self.action, self.obs, self.rngs = action, [], []

    def __call__(self, obs, rng):
        self.obs.append(obs.copy())
        self.rngs.append(rng)
        return np.array([self.action])


def sampled(obs, rng):
    """A random action of CartPole; greedy: left."""
    return np.array([0 if rng is None else rng.integers(2)])


def zero(obs, rng):
    return np.zeros((1, 1), np.float32)


def evaluator(env_id, normalizer=None, **changes):
    return Evaluator(env_config(env_id, **changes), normalizer)


def statistics(mean, variance, shape=(1,), clip=10.0):
    normalizer = ObservationNormalizer(shape, clip)
    normalizer.moments.mean = np.full(shape, float(mean))
    normalizer.moments.variance = np.full(shape, float(variance))
    normalizer.moments.count = 50.0
    return normalizer


def test_statistics_are_used_and_not_updated():
    normalizer = statistics(mean=1.0, variance=4.0)
    moments = normalizer.moments
    before = (moments.mean.tobytes(), moments.variance.tobytes(), moments.count)
    policy = RecordingPolicy([0.0])
    evaluate(evaluator("TestRamp-v0", normalizer, normalize_obs=True), policy, 2, 0, True)
    # observations 0, 1, 2 become (x - 1) / 2; the same in the second episode
    normalized = np.concatenate(policy.obs)[:, 0]
    np.testing.assert_allclose(normalized, [-0.5, 0.0, 0.5] * 2, atol=1e-6)
    assert (moments.mean.tobytes(), moments.variance.tobytes(), moments.count) == before


def test_changed_statistics_of_training_are_used_in_the_next_episode():
    normalizer = statistics(mean=0.0, variance=1.0)
    evaluation_env, policy = (
        evaluator("TestRamp-v0", normalizer, normalize_obs=True),
        RecordingPolicy([0.0]),
    )
    evaluation_env.episode(policy, 0, greedy=True)
    normalizer.moments.mean = np.array([1.0])
    evaluation_env.episode(policy, 0, greedy=True)
    np.testing.assert_allclose(np.concatenate(policy.obs)[:, 0], [0, 1, 2, -1, 0, 1], atol=1e-6)


def test_returns_are_of_raw_rewards_although_training_normalizes_them():
    evaluation_env = evaluator(
        "TestRamp-v0", statistics(0, 1), normalize_obs=True, normalize_reward=True, clip_reward=0.1
    )
    assert evaluation_env.episode(zero, 0, greedy=True) == Episode(1 + 2 + 3, 3)


def test_same_seeds_give_the_same_episodes():
    evaluation_env = evaluator("CartPole-v1")
    episodes = evaluate(evaluation_env, sampled, 5, 30, greedy=False)
    assert evaluate(evaluation_env, sampled, 5, 30, greedy=False) == episodes
    assert evaluate(evaluator("CartPole-v1"), sampled, 5, 30, greedy=False) == episodes
    assert evaluate(evaluation_env, sampled, 5, 99, greedy=False) != episodes
    assert len({e[:2] for e in episodes}) > 1


def test_episode_i_depends_only_on_seed_plus_i():
    evaluation_env = evaluator("CartPole-v1")
    episodes = evaluate(evaluation_env, sampled, 4, 7, greedy=False)
    alone = [evaluate(evaluation_env, sampled, 1, 7 + i, greedy=False)[0] for i in (3, 1, 0, 2)]
    assert alone == [episodes[i] for i in (3, 1, 0, 2)]


def test_sampled_actions_depend_only_on_the_seed():
    """Not on numpy's global generator, nor on the number of earlier draws."""
    evaluation_env = evaluator("CartPole-v1")
    draws = []

    def drawing(obs, rng):
        draws.append(rng.random())
        return np.array([int(draws[-1] < 0.5)])

    evaluation_env.episode(drawing, 11, greedy=False)
    one, draws = draws, []
    np.random.seed(5)  # noqa: NPY002
    evaluation_env.episode(drawing, 12, greedy=False)
    two, draws = draws, []
    evaluation_env.episode(drawing, 11, greedy=False)
    assert draws == one
    assert two[:8] != one[:8]


def test_greedy_policy_receives_no_generator():
    policy = RecordingPolicy(0)
    evaluate(evaluator("CartPole-v1"), policy, 2, 0, greedy=True)
    assert set(policy.rngs) == {None}


@pytest.mark.parametrize(("limit", "length"), [(None, 200), (7, 7)])
def test_time_limit_of_the_env_ends_the_episode(limit, length):
    evaluation_env = evaluator("Pendulum-v1", max_episode_steps=limit)
    assert evaluation_env.episode(zero, 0, greedy=True).length == length


def test_frame_skip_counts_one_step_and_sums_the_rewards():
    evaluation_env = evaluator("TestRamp-v0", frame_skip=2)
    assert evaluation_env.episode(zero, 0, greedy=True) == Episode(1 + 2 + 3, 2)


def test_actions_are_clipped_to_the_bounds_of_the_env():
    evaluation_env = evaluator("TestRamp-v0")
    evaluation_env.episode(RecordingPolicy([5.0]), 0, greedy=True)
    assert evaluation_env.env.unwrapped.taken == [1.0] * 3


@pytest.mark.parametrize(
    ("env_id", "shape", "dtype", "changes"),
    [
        ("TestRamp-v0", (1, 1), np.float32, {}),
        ("TestRamp-v0", (1, 3), np.float32, {"frame_stack": 3}),
        ("FrozenLake-v1", (1, 16), np.float32, {}),
        ("TestByteImage-v0", (1, 3, 40, 40), np.uint8, {}),
        ("TestByteVector-v0", (1, 5), np.float32, {}),
    ],
)
def test_policy_receives_a_batch_of_one_with_the_dtype_of_training(env_id, shape, dtype, changes):
    """Images stay uint8 and every vector is float32, as in `EnvSpec` and `VectorEnv`."""
    policy = RecordingPolicy(0 if env_id == "FrozenLake-v1" else [0.0])
    evaluator(env_id, **changes).episode(policy, 0, greedy=True)
    assert (policy.obs[0].shape, policy.obs[0].dtype) == (shape, dtype)


def test_each_state_is_rendered_once_including_the_first_and_the_last():
    class Sink:
        def __init__(self):
            self.frames = []

        def write(self, frame):
            self.frames.append(frame)

    frames = Sink()
    evaluation_env = Evaluator(env_config("TestRamp-v0"), None, render_mode="rgb_array")
    evaluation_env.episode(zero, 0, greedy=True, frames=frames)
    assert frames.frames == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("env_id", "frame_skip", "fps"),
    [("TestRamp-v0", 1, 24), ("TestRamp-v0", 2, 12), ("TestNoFrameRate-v0", 1, 30)],
)
def test_fps_is_that_of_the_env_divided_by_frame_skip(env_id, frame_skip, fps):
    assert evaluator(env_id, frame_skip=frame_skip).fps == fps


@pytest.mark.parametrize(("success_at", "expected"), [(None, 475.0), (20.0, 20.0)])
def test_success_threshold_is_that_of_the_configuration_or_of_the_env(success_at, expected):
    assert evaluator("CartPole-v1", success_at=success_at).success_at == expected


def test_episode_of_an_env_without_a_time_limit_ends_after_10_000_steps():
    evaluator = Evaluator(env_config("ProbeEndless-v0"), None)
    episode = evaluator.episode(lambda obs, rng: np.zeros(len(obs), int), 0, greedy=True)
    assert episode[:2] == (10_000.0, 10_000)
    limited = Evaluator(env_config("ProbeEndless-v0", max_episode_steps=7), None)
    assert limited.episode(lambda obs, rng: np.zeros(len(obs), int), 0, greedy=True).length == 7


def test_policy_is_loaded_where_its_replay_buffer_would_not_fit(command, tiny, here, monkeypatch):
    overrides = ["algo=dqn", "env=cartpole", "run_dir=run", "algo.buffer_size=100_000"]
    done = command("rl-train", *overrides, "algo.learning_starts=100", "algo.batch_size=32", *tiny)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 10_000)  # about 190 transitions
    agent = load_agent(find(here / "run", "best"), {}, "cpu")
    assert agent.algo.buffer.capacity == 32
    assert agent.algo.predict(np.zeros((1, 4), np.float32), None).shape == (1,)
