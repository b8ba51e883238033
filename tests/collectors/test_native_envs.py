"""Classic envs stepped in C: the same bits as the eager collector, the same errors, checks of the machine."""

import ctypes
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from rl_cli.collectors import native_envs
from rl_cli.collectors.factory import make_collector
from rl_cli.collectors.native import NativeCollector
from rl_cli.collectors.native_envs import NativeEnvCollector
from rl_cli.core.errors import NonFinite
from rl_cli.envs.fast_classic_control import make_fast
from rl_cli.envs.make import make_env
from rl_cli.envs.wrappers import without_time_limit
from tests.algos.test_algorithms import env_config
from tests.collectors.loop import BUDGET, Loop, assert_same_bits, never
from tests.conftest import FULL
from tests.engine.test_compiler import needs_compiler

pytestmark = needs_compiler

NORMALIZED = {"normalize_obs": True, "normalize_reward": True}
CASES = [
    ("dqn", "CartPole-v1", {}),
    ("dqn", "CartPole-v1", {"num_envs": 3}),
    ("dqn", "CartPole-v1", {"num_envs": 3, "changes": {"buffer_size": 64, "train_every": 1}}),
    ("dqn", "CartPole-v1", {"changes": {"buffer_size": 200, "train_every": 4}, "compiled": True}),
    ("dqn", "MountainCar-v0", {"changes": {"epsilon_decay": "exponential", "epsilon_steps": 500}}),
    ("ppo", "CartPole-v1", {}),
    ("ppo", "CartPole-v1", {"num_envs": 3, "reseed_episodes": True}),
    ("ppo", "MountainCar-v0", {"changes": {"shared_network": True}}),
    ("ppo", "Acrobot-v1", {"num_envs": 2}),
    ("ppo", "Pendulum-v1", {}),
    ("ppo", "Pendulum-v1", NORMALIZED),
    ("ppo", "Pendulum-v1", {"num_envs": 3}),
]
if FULL:  # libraries of their own
    CASES += [
        ("dqn", "CartPole-v1", {"num_envs": 3, "changes": {"buffer_size": 64}, "compiled": True}),
        ("dqn", "Acrobot-v1", {"compiled": True, **NORMALIZED}),
    ]


@pytest.mark.parametrize(("name", "env_id", "more"), CASES)
def test_steps_in_c_equal_eager_to_the_bit(name, env_id, more):
    """Also at the end of the budget within a step, where a run changes from one collector to the other,
    where the buffer wraps around, and after a resume in the middle of an episode."""
    eager, native, mixed = (Loop(name, env_id, on, **more) for on in (False, True, True))
    assert type(native.collector) is NativeEnvCollector
    collectors = {50: mixed.eager, 301: mixed.collector, 703: mixed.eager, BUDGET: mixed.collector}
    resumed = None
    for until, collector in collectors.items():
        mixed.collector = collector
        loops = [loop for loop in (eager, native, mixed, resumed) if loop is not None]
        for loop in loops:
            loop.run(until)
            assert_same_bits(eager.state(), loop.state())
        if until == 301 and not more.get("normalize_obs"):  # its statistics are in another file
            resumed = native.resumed()
    assert eager.step == BUDGET
    assert native.metrics == eager.metrics
    assert eager.inline_updates == 0
    assert (native.inline_updates > 0) == bool(more.get("compiled"))
    if more.get("changes", {}).get("train_every") != 1:
        assert native.calls < eager.calls * 2 / 3


N_STEP = list(itertools.product([1, 2, 3, 5], [1, 4], ["q_learning", "sarsa"]))


@pytest.mark.parametrize(("n", "num_envs", "bootstrap"), N_STEP if FULL else N_STEP[8:12])
def test_n_step_rows_of_c_equal_eager_to_the_bit(n, num_envs, bootstrap):
    """The buffer wraps around, episodes end within n steps; both collectors alternate, also within a step
    at the end of the budget; a run is resumed with a part of a window."""
    changes = {"n_step": n, "buffer_size": 200, "bootstrap": bootstrap, "train_every": 28}
    more = {"num_envs": num_envs, "changes": changes, "compiled": FULL}
    eager, native, mixed = (Loop("dqn", "CartPole-v1", on, **more) for on in (False, True, True))
    assert type(native.collector) is NativeEnvCollector
    collectors = {2: mixed.collector, 50: mixed.eager, 301: mixed.collector, 703: mixed.eager}
    resumed = None
    for until, collector in (collectors | {BUDGET: mixed.collector}).items():
        mixed.collector = collector
        loops = [loop for loop in (eager, native, mixed, resumed) if loop is not None]
        for loop in loops:
            loop.run(until)
            assert_same_bits(eager.state(), loop.state())
        if until == 50:
            resumed = native.resumed()
    assert eager.algo.replay.added > eager.algo.replay.capacity
    assert native.metrics == eager.metrics
    assert native.calls < eager.calls * 2 / 3


def test_python_steps_only_the_part_of_a_step_at_the_end_of_the_budget(monkeypatch):
    loop, steps = Loop("dqn", "CartPole-v1", True, num_envs=3), []
    step = loop.envs.step
    monkeypatch.setattr(loop.envs, "step", lambda action: steps.append(len(action)) or step(action))
    loop.run(BUDGET)
    assert steps == [BUDGET % 3]


@pytest.mark.parametrize("num_envs", [1, 3])
def test_value_that_is_not_finite_is_reported_as_by_the_eager_collector(num_envs):
    """The bias of the mean becomes NaN: so does the first action, and with it the reward."""
    errors, states = [], []
    for on in (False, True):
        loop = Loop("ppo", "Pendulum-v1", on, num_envs=num_envs)
        loop.run(96)
        next(a for name, a in loop.algo.learner.arrays.items() if name.endswith("bias"))[:] = np.nan
        with pytest.raises(NonFinite) as caught:
            loop.run(BUDGET)
        errors.append((caught.value.what, caught.value.where, caught.value.steps))
        states.append(loop.state())
    assert errors[0] == errors[1]
    assert errors[0][0] == "the env returned a reward of nan"
    assert_same_bits(*states)


def test_steps_before_a_failing_one_are_kept_and_counted():
    """The state that leads to NaN is reached after some steps of a call."""
    loop = Loop("ppo", "Pendulum-v1", True)
    c_steps = loop.collector.run

    def run(address, steps, stop):
        taken = c_steps(address, min(steps, 20), stop)
        loop.collector.arrays["state"][0, 0] = np.nan
        return taken + c_steps(address, steps - 20, stop)

    loop.collector.run = run
    with pytest.raises(NonFinite, match="a reward of nan") as caught:
        loop.run(48)
    assert caught.value.steps == 20
    assert caught.value.where.startswith("env=0, step 21 of its episode")
    assert loop.algo.rollout.position == 20


def replaced_library(monkeypatch, **functions):
    """Replace functions of the library. -> the original one."""
    exact = native_envs.load()
    names = ("sines", "step_classic", "collect_steps", "choose_actions", "run_updates")
    library = SimpleNamespace(**{name: functions.get(name, getattr(exact, name)) for name in names})
    monkeypatch.setattr(native_envs, "load", lambda: library)
    return exact


def made_for(loop):
    return type(make_collector(loop.algo, loop.envs, BUDGET, never))


def doubles(pointer, count):
    return np.ctypeslib.as_array((ctypes.c_double * count).from_address(pointer.value))


def test_other_sines_of_the_c_library_lead_to_python_envs(monkeypatch):
    """They differ in the last bit of one of thousands."""
    loop, at = Loop("dqn", "CartPole-v1", False), 4 * native_envs.CHECKED_ANGLES - 7

    def sines(x, sine, cosine, count):
        exact.sines(x, sine, cosine, count)
        values = doubles(cosine, count.value)
        values[at] = np.nextafter(values[at], 9.0)

    exact = replaced_library(monkeypatch)
    assert made_for(loop) is NativeEnvCollector
    monkeypatch.undo()
    exact = replaced_library(monkeypatch, sines=sines)
    assert made_for(loop) is NativeCollector


def test_other_steps_of_the_c_library_lead_to_python_envs(monkeypatch):
    loop = Loop("dqn", "CartPole-v1", False)

    def step_classic(kind, constants, state, *rest):
        ended = exact.step_classic(kind, constants, state, *rest)
        doubles(state, 4)[2] = np.nextafter(doubles(state, 4)[2], 9.0)
        return ended

    exact = replaced_library(monkeypatch, step_classic=step_classic)
    assert made_for(loop) is NativeCollector


@pytest.mark.parametrize("env_id", ["CartPole-v1", "MountainCar-v0", "Pendulum-v1", "Acrobot-v1"])
def test_step_in_c_equals_gymnasiums_to_the_bit(env_id):
    """Whole episodes, compared with the env itself, not with its fast version."""
    envs, _ = without_time_limit([make_env(env_config(env_id))])
    env, fast = envs[0], make_fast(make_env(env_config(env_id)).unwrapped)
    library, kind = native_envs.load(), native_envs.CLASSES.index(type(fast))
    constants, state = np.array(fast.constants), np.empty(fast.state_size)
    obs, reward, ended = np.empty(6, np.float32), np.empty(1), True
    env.action_space.seed(0)
    for step in range(2_000):
        if ended or step % 500 == 0:
            env.reset(seed=step)
            state[:] = env.unwrapped.state
        action = env.action_space.sample()
        arrays = (constants, state, np.asarray(action), obs, reward)
        ended = library.step_classic(kind, *(ctypes.c_void_p(a.ctypes.data) for a in arrays))
        expected, expected_reward, terminated, _, _ = env.step(action)
        assert obs[: len(expected)].tobytes() == expected.tobytes()
        assert (reward[0], bool(ended)) == (expected_reward, terminated)
        assert state.tolist() == list(env.unwrapped.state)
