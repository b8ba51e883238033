"""Many steps in one call of C: the bits of the loop that takes them one by one."""

import ctypes
import time
from collections import Counter
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from rl_cli import algos
from rl_cli.collectors import native, native_envs
from rl_cli.collectors.native import NativeCollector
from rl_cli.core.errors import EnvFault, NonFinite
from rl_cli.core.seeding import env_seeds
from rl_cli.engine import build_cache, forward
from rl_cli.envs.fast_classic_control import lean
from rl_cli.envs.make import make_env
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.wrappers import without_time_limit
from rl_cli.evaluation import evaluator as evaluator_module
from rl_cli.storage import manifest
from rl_cli.training import trainer
from tests.algos.test_algorithms import env_config, settings
from tests.engine.test_compiler import needs_compiler
from tests.training.test_trainer import contents, rows, run

pytestmark = needs_compiler

NORMALIZED = {"normalize_obs": True, "normalize_reward": True}
DQN = {"learning_starts": 60, "train_every": 7, "target_update_every": 25, "batch_size": 16}
PPO = {"rollout_length": 48, "num_epochs": 2, "minibatch_size": 24}
BUDGET = 1_000


class Loop:
    """The trainer's loop, with stretches or without."""

    def __init__(self, name, env_id, stretches, num_envs=1, changes=None, **env):
        self.envs = VectorEnv(env_config(env_id, num_envs=num_envs, **env), env_seeds(3, num_envs))
        cfg = settings(name, **(DQN if name == "dqn" else PPO) | (changes or {}))
        cpu = torch.device("cpu")
        self.algo = algos.load(name)(cfg, self.envs.spec, BUDGET, 0, cpu)
        self.algo.learner.compile_with(None, forward.load())
        self.stretch = native_envs.prepared(self.algo, self.envs) if stretches else None
        self.envs.keep_finished = True
        self.envs.reset()
        self.step, self.episodes, self.calls = 0, [], Counter()

    def run(self, until):
        """To `until` at the latest by whole steps, then a part of one."""
        n = self.envs.num_envs
        while self.step < until:
            whole = self.step + (until - self.step) // n * n
            taken = self.stretch(self.step, whole) if self.stretch else 0
            self.calls[taken > 0] += 1
            self.step += taken or self._one(until)
            self.algo.update(self.step)
            self.episodes += self.envs.take_episodes()
        return self

    def _one(self, until):
        if self.stretch:
            self.stretch.settle()
        action = self.algo.act(self.envs.obs[: until - self.step], self.step)
        transition, _ = self.envs.step(action)
        self.algo.observe(transition)
        return len(action)

    def state(self):
        if self.stretch:
            self.stretch.settle()
        return {
            "algo": self.algo.state_dict(),
            "policy": self.algo.policy_state(),
            "envs": self.envs.state_dict(),
            "inner": [getattr(env, "state", None) for env in self.envs.envs],
            "moments": self.envs.obs_normalizer and self.envs.obs_normalizer.moments.state_dict(),
            "episodes": self.episodes,
            "recordings": [(r.episode, r.begun, np.array(r.actions)) for r in self.envs.recordings],
        }


def same(a, b, at=""):
    """Every number of two nested states has the same bits."""
    if isinstance(a, torch.Tensor):
        a, b = a.numpy(), b.numpy()
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, at
        assert a.shape == b.shape, at
        assert a.tobytes() == b.tobytes(), at
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            same(a[key], b[key], f"{at}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for i, pair in enumerate(zip(a, b, strict=True)):
            same(*pair, f"{at}[{i}]")
    elif not callable(a):
        assert a == b, at


CASES = [
    ("dqn", "CartPole-v1", {}),
    ("dqn", "CartPole-v1", {"num_envs": 3}),
    ("dqn", "CartPole-v1", {"num_envs": 3, "changes": {"buffer_size": 64, "train_every": 1}}),
    ("dqn", "MountainCar-v0", {"changes": {"epsilon_decay": "exponential", "epsilon_steps": 500}}),
    ("dqn", "Acrobot-v1", NORMALIZED),
    ("ppo", "CartPole-v1", {}),
    ("ppo", "CartPole-v1", {"num_envs": 3, "reseed_episodes": True}),
    ("ppo", "MountainCar-v0", {"changes": {"shared_network": True}}),
    ("ppo", "Acrobot-v1", {"num_envs": 2}),
    ("ppo", "Pendulum-v1", {}),
    ("ppo", "Pendulum-v1", NORMALIZED),
    ("ppo", "Pendulum-v1", {"num_envs": 3}),
]
STRIDES = [
    ("dqn", "LunarLander-v3", {}),
    ("dqn", "LunarLander-v3", {"num_envs": 3, **NORMALIZED}),
    ("dqn", "CartPole-v1", {"sign_reward": True, "reseed_episodes": True}),
    ("dqn", "Acrobot-v1", {"num_envs": 2, "normalize_obs": True}),
    ("ppo", "LunarLander-v3", {"num_envs": 2}),
    ("ppo", "MountainCarContinuous-v0", NORMALIZED),
    ("ppo", "Pendulum-v1", {"num_envs": 2, "normalize_reward": True}),
]
"""Envs that Python steps, with nothing else of it in between."""


@pytest.mark.parametrize(("name", "env_id", "more"), CASES + STRIDES)
def test_a_stretch_is_the_loop_to_the_bit(name, env_id, more):
    """Also where the budget ends within a step, and where one takes over from the other."""
    plain, quick = (Loop(name, env_id, on, **more) for on in (False, True))
    other = Loop(name, env_id, True, **more)
    for until in (50, 301, 703, BUDGET):
        if until == 703:
            other.stretch = None  # the rest goes one by one
        for loop in (plain, quick, other):
            loop.run(until)
        same(plain.state(), quick.state())
        same(plain.state(), other.state())
    assert type(quick.stretch) is (
        NativeCollector if (name, env_id, more) in STRIDES else native_envs.NativeEnvCollector
    )
    assert quick.calls[True] > 0
    assert quick.calls[False] <= 3  # no more than what is left at an end
    if more.get("changes", {}).get("train_every") != 1:
        assert quick.calls[True] < plain.calls[False] * 2 / 3


@pytest.mark.parametrize(
    ("name", "changes", "env"),
    [
        ("dqn", {"noisy": True}, {}),
        ("dqn", {"dueling": True}, {}),
        ("dqn", {"n_step": 3}, {}),
        ("dqn", {"bootstrap": "sarsa"}, {}),
        ("dqn", {"distributional": "c51"}, {}),
        ("dqn", {"replay": "proportional"}, {}),
        ("dqn", {"epsilon_factor": 0.99}, {}),
        ("ppo", {"rollout_length": None, "rollout_episodes": 4}, {}),
    ],
)
def test_what_c_does_not_know_goes_one_by_one(name, changes, env):
    assert Loop(name, "CartPole-v1", True, changes=changes, **env).stretch is None


@pytest.mark.parametrize("changes", [{"std": "gsde"}, {"std": "fixed"}, {"squash_actions": True}])
def test_nor_does_it_know_other_spreads(changes):
    assert Loop("ppo", "Pendulum-v1", True, changes=changes).stretch is None


def test_plain_steps_are_not_made_quick():
    """Numpy's and C's networks round differently: a run that learns plainly acts plainly."""
    loop = Loop("dqn", "CartPole-v1", False)
    loop.algo.learner.compile_with(None)
    assert native_envs.prepared(loop.algo, loop.envs) is None
    quick = Loop("dqn", "CartPole-v1", True)
    quick.algo.learner.compile_with(None)  # the step turned out not to compile
    assert quick.stretch(0, 100) == 0


def other_library(monkeypatch, **changed):
    """The library of stretches with a function or two replaced."""
    exact = build_cache.load(*native_envs.SOURCES, flags=build_cache.EXACT)
    names = ("sines", "step_classic", "stretch", "choose_actions")
    kept = {name: changed.get(name, getattr(exact, name)) for name in names}
    monkeypatch.setattr(build_cache, "load", lambda *_, **__: SimpleNamespace(**kept))
    return exact


def doubles(pointer, count):
    return np.ctypeslib.as_array((ctypes.c_double * count).from_address(pointer.value))


def test_where_sines_differ_there_are_no_stretches(monkeypatch):
    """By the last bit of one in thousands."""
    loop, at = Loop("dqn", "CartPole-v1", False), 4 * native_envs.ANGLES - 7

    def sines(x, sine, cosine, count):
        exact.sines(x, sine, cosine, count)
        found = doubles(cosine, count.value)
        found[at] = np.nextafter(found[at], 9.0)

    exact = other_library(monkeypatch)
    assert type(native_envs.prepared(loop.algo, loop.envs)) is native_envs.NativeEnvCollector
    monkeypatch.undo()
    exact = other_library(monkeypatch, sines=sines)
    assert type(native_envs.prepared(loop.algo, loop.envs)) is NativeCollector


def test_where_a_step_differs_there_are_no_stretches(monkeypatch):
    loop = Loop("dqn", "CartPole-v1", False)

    def step_classic(kind, constants, state, *rest):
        over = exact.step_classic(kind, constants, state, *rest)
        doubles(state, 4)[2] = np.nextafter(doubles(state, 4)[2], 9.0)
        return over

    exact = other_library(monkeypatch, step_classic=step_classic)
    assert type(native_envs.prepared(loop.algo, loop.envs)) is NativeCollector


OWN = ["act", "_explore", "_greedy", "observe", "update", "next_update", "_learn"]


@pytest.mark.parametrize("name", OWN)
def test_an_algorithm_of_ones_own_acts_as_it_says(name):
    """What it inherits of `native_spec` tells of another class."""
    loop = Loop("dqn", "CartPole-v1", False)
    inherited = type(loop.algo)
    loop.algo.__class__ = type("Mine", (inherited,), {name: lambda self, *args: None})
    assert native_envs.prepared(loop.algo, loop.envs) is None
    loop.algo.__class__ = type("Mine", (inherited,), {"predict": None})
    assert native_envs.prepared(loop.algo, loop.envs) is not None


def test_a_run_is_the_same_with_stretches_and_without(here, tiny, monkeypatch):
    """Rows, evaluations and every checkpoint, with statistics that training moves and others read."""
    overrides = [
        word
        for word in tiny
        if word.partition("=")[0] not in ("compile", "eval.every", "eval.episodes")
    ]
    overrides += ["compile=true", "env.normalize_obs=true", "eval.every=70", "checkpoint.every=90"]
    overrides += ["algo.hidden_sizes=[16]", "checkpoint.keep=9", "log.every=50"]
    begun, read = [], []

    def counted(algo, envs):
        made = made_by(algo, envs)
        begun.append(made)
        return made

    def noted(evaluator, *rest):
        read.append(evaluator.normalizer.moments.mean.tolist())
        return evaluate(evaluator, *rest)

    made_by, evaluate = native_envs.prepared, evaluator_module.evaluate
    monkeypatch.setattr(trainer, "evaluate", noted)
    monkeypatch.setattr(native_envs, "prepared", counted)
    _, quick = run(here, "quick", *overrides)
    assert begun[0] is not None
    assert begun[0].epsilons_at >= 0  # it has been at work
    monkeypatch.setattr(native_envs, "prepared", lambda *_: None)
    _, plain = run(here, "plain", *overrides)
    assert read[: len(read) // 2] == read[len(read) // 2 :]  # as if told after every step
    assert rows(quick / "eval.csv") == rows(plain / "eval.csv")
    times = ("time/steps_per_second", "time/elapsed")
    for one, other in zip(rows(quick / "metrics.csv"), rows(plain / "metrics.csv"), strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {
            k: v for k, v in other.items() if k not in times
        }
    steps = manifest.steps_in(quick / "checkpoints")
    assert steps == manifest.steps_in(plain / "checkpoints")
    assert len(steps) >= 4
    for step in steps:
        assert contents(quick, step) == contents(plain, step)


def test_an_env_that_is_lost_is_told_of_before_it_is_learned_from():
    loop = Loop("ppo", "Pendulum-v1", True)
    loop.envs.envs[0].state = (np.inf, 0.0)
    with pytest.raises(NonFinite, match="an observation with nan"):
        loop.stretch(0, 48)
    assert loop.envs.lengths == [1]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "MountainCar-v0", "Pendulum-v1", "Acrobot-v1"])
def test_c_steps_an_env_as_gymnasium_does(env_id):
    """Whole episodes, beside the env itself rather than its lean twin."""
    envs, _ = without_time_limit([make_env(env_config(env_id))])
    env, twin = envs[0], lean(make_env(env_config(env_id)).unwrapped)
    library = build_cache.load(*native_envs.SOURCES, flags=build_cache.EXACT)
    kind, pointer = native_envs.KINDS.index(type(twin)), native.Pointer
    constants, state = np.array(twin.constants), np.empty(twin.numbers)
    seen, reward, over = np.empty(6, np.float32), np.empty(1), True
    env.action_space.seed(0)
    for step in range(2_000):
        if over or step % 500 == 0:
            env.reset(seed=step)
            state[:] = env.unwrapped.state
        action = env.action_space.sample()
        places = (np.asarray(action), seen, reward)
        over = library.step_classic(
            kind, *(pointer(a.ctypes.data) for a in (constants, state, *places))
        )
        obs, gain, terminated, _, _ = env.step(action)
        assert seen[: len(obs)].tobytes() == obs.tobytes()
        assert (reward[0], bool(over)) == (gain, terminated)
        assert state.tolist() == list(env.unwrapped.state)


class Breaks(gym.Env):
    """Goes wrong in its fortieth step."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, how="raise", render_mode=None):
        self.how, self.age, self.render_mode = how, 0, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.age += 1
        if self.age == 40:
            if self.how == "raise":
                raise RuntimeError("the wheel came off")
            if self.how == "hang":
                time.sleep(60)
            return np.full(2, np.nan, np.float32), 1.0, False, False, {}
        return np.zeros(2, np.float32), 1.0, self.age % 25 == 0, False, {}


gym.register("Breaks-v0", Breaks)


@pytest.mark.parametrize(
    ("how", "kind"), [("raise", EnvFault), ("lost", NonFinite), ("hang", EnvFault)]
)
def test_an_env_that_fails_on_the_way_is_told_of_as_ever(here, tiny, monkeypatch, how, kind):
    """By name, env, step of the run and of the episode."""
    words = [word for word in tiny if not word.startswith("compile=")]
    words += ["env.id=Breaks-v0", f"++env.kwargs.how={how}", "compile=true", "step_timeout=1"]
    made, told = [], []
    prepare = native_envs.prepared
    monkeypatch.setattr(
        native_envs, "prepared", lambda *parts: made.append(prepare(*parts)) or made[-1]
    )
    for name in ("quick", "plain"):
        with pytest.raises(kind) as caught:
            run(here, name, *words, env="custom")
        told.append((caught.value.what, caught.value.where))
        monkeypatch.setattr(native_envs, "prepared", lambda *_: None)
    assert type(made[0]) is NativeCollector
    assert made[0].taken == 14  # since the episode before ended
    assert told[0] == told[1]
    assert told[0][1].startswith("step=39, env=0")
