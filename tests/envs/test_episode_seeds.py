# ruff: noqa: NPY002 - the envs here draw from NumPy's legacy generator
"""Envs that draw from `random`, `np.random` or the `sample` of a space: same seed, same bits, exact resume."""

import json
import random

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.core.seeding import env_seeds, globals_kept, seed_globals
from rl_cli.envs.episode_seeds import EpisodeSeeds
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.storage.serialization import pack, unpack
from tests.algos.test_algorithms import env_config

SOURCES = {
    "random": lambda env: random.random(),
    "np.random": lambda env: np.random.rand(),
    "action_space": lambda env: env.action_space.sample() / 100,
    "observation_space": lambda env: env.observation_space.sample()[0],
    "nested": lambda env: env.extra.sample()["a"][0] / 100,
}


class Draws(gym.Env):
    """Observations, rewards and lengths of episodes are drawn; the constructor draws, too."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(100)  # of the class: all its envs would share it
    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, source="random"):
        self.draw = SOURCES[source]
        self.size = random.random() + np.random.rand()
        if source == "nested":
            self.extra = self.action_space = spaces.Dict({"a": spaces.MultiDiscrete([100])})

    def obs(self):
        return np.array([self.draw(self), self.size / 2], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.obs(), {}

    def step(self, action):
        return self.obs(), float(self.draw(self)), self.draw(self) > 0.9, False, {}


class Inherits(Draws):
    """Its spaces belong to a base class."""


gym.register("TestDraws-v0", Inherits)


class Nested(gym.Wrapper):
    """The action space of the inner env is not one that an algorithm can use."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = spaces.Discrete(100)


gym.register("TestDrawsNested-v0", lambda: Nested(Draws("nested")))


def config(source, num_envs=1):
    if source == "nested":
        return env_config("TestDrawsNested-v0", num_envs=num_envs)
    return env_config("TestDraws-v0", num_envs=num_envs, kwargs={"source": source})


def play(envs, steps):
    """Observations and rewards of `steps` steps."""
    action = np.zeros(envs.num_envs, np.int64)
    rows = []
    for _ in range(steps):
        transition, obs = envs.step(action)
        rows.append([transition.reward.tolist(), transition.next_obs.tolist(), obs.tolist()])
    return rows


def started(source, num_envs=1, workers=0):
    """Envs after their first reset, in a process whose generators are in any state."""
    random.seed(None)
    np.random.seed(None)
    cfg, seeds = config(source, num_envs), env_seeds(3, num_envs)
    envs = WorkerVectorEnv(cfg, seeds, workers, 20.0) if workers else VectorEnv(cfg, seeds)
    random.random(), np.random.rand()  # the construction of other parts of a run
    return envs, envs.reset().tolist()


def through_a_checkpoint(state):
    tree, arrays, _ = pack(state)
    copies = {name: np.array(array) for name, array in arrays.items()}
    return unpack(json.loads(json.dumps(tree)), copies, {}.__getitem__)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("num_envs", [1, 3])
def test_same_seed_same_bits(source, num_envs):
    runs = []
    for _ in range(2):
        envs, first = started(source, num_envs)
        runs.append((first, play(envs, 80)))
    assert runs[0] == runs[1]
    assert len({str(row) for row in runs[0][1]}) == 80  # it does draw


@pytest.mark.parametrize("source", ["random", "np.random", "action_space"])
def test_same_seed_same_bits_in_workers(source):
    runs = []
    for _ in range(2):
        envs, first = started(source, 2, workers=2)
        runs.append((first, play(envs, 40)))
        envs.close()
    assert runs[0] == runs[1]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("source", SOURCES)
def test_resume_of_one_env_is_exact(source, workers):
    whole, _ = started(source, workers=workers)
    for steps in (7, 8, 9, 30):
        play(whole, steps)
        state = through_a_checkpoint(whole.state_dict())
        expected = play(whole, 40)
        with globals_kept():  # of this process, in which the first envs continue
            resumed, _ = started(source, workers=workers)
            assert resumed.load_state_dict(state) == []
            assert play(resumed, 40) == expected
            resumed.close()
    whole.close()


def test_resume_of_envs_that_share_generators_is_not_called_exact():
    class Silent(Draws):
        """Draws, but shows nothing of it for ten steps."""

        def __init__(self):
            super().__init__()
            self.t = 0

        def obs(self):
            return np.zeros(2, np.float32)

        def step(self, action):
            random.random()
            return self.obs(), 0.0, False, False, {}

    gym.register("TestSilent-v0", Silent)
    envs, again = (VectorEnv(env_config("TestSilent-v0", num_envs=2), [1, 2]) for _ in range(2))
    envs.reset()
    play(envs, 3)
    assert again.load_state_dict(through_a_checkpoint(envs.state_dict())) == [0, 1]
    assert "share its random" in again.inexact[0]


def test_envs_that_draw_nothing_resume_exactly_in_one_process():
    envs, again = (
        VectorEnv(env_config("MountainCarContinuous-v0", num_envs=2), [1, 2]) for _ in range(2)
    )
    envs.reset()
    for _ in range(5):
        envs.step(np.zeros((2, 1), np.float32))
    assert again.load_state_dict(through_a_checkpoint(envs.state_dict())) == []
    assert again.inexact == {}


@pytest.mark.parametrize("source", SOURCES)
def test_evaluation_is_reproducible_and_changes_no_training(source):
    def policy(obs, rng):
        return np.zeros(1, np.int64)

    results = []
    for evaluated in (False, True, True):
        envs, _ = started(source)
        play(envs, 5)
        evaluator = Evaluator(config(source), None)
        if evaluated:
            results.append(evaluate(evaluator, policy, 3, 7, True))
        rest = play(envs, 30)
        results.append(rest)
    plain, played, with_evaluation, played_again, again = results
    assert played == played_again
    assert plain == with_evaluation == again


def test_globals_kept_restores_both_generators():
    seed_globals(1)
    expected = random.random(), np.random.rand()
    seed_globals(1)
    with globals_kept():
        seed_globals(2)
        random.random(), np.random.standard_normal()
    assert (random.random(), np.random.rand()) == expected


def test_spaces_that_were_not_sampled_are_not_seeded_again():
    """Seeding a space takes as long as the reset of a small env."""
    env = Draws()
    seeds = EpisodeSeeds(env)
    assert seeds.begin(5) == {"globals": 5, "spaces": 5}
    assert seeds.begin(6) == {"globals": 6, "spaces": 5}
    env.action_space.sample()
    assert seeds.begin(7) == {"globals": 7, "spaces": 7}
