"""The native collector: the same bits as the eager one, the same errors, and prompt reaction to signals."""

import itertools
import signal
import time

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.collectors import factory
from rl_cli.collectors.base import EagerCollector
from rl_cli.collectors.native import NativeCollector
from rl_cli.collectors.native_envs import NativeEnvCollector
from rl_cli.core.errors import EnvFault, NonFinite
from rl_cli.storage import manifest
from rl_cli.training import build
from tests.collectors.loop import BUDGET, Loop, assert_same_bits
from tests.config.test_config import compose
from tests.conftest import FULL
from tests.engine.test_compiler import needs_compiler
from tests.runs import train
from tests.training.test_trainer import contents, rows, run

pytestmark = needs_compiler

NORMALIZED = {"normalize_obs": True, "normalize_reward": True}
CASES = [
    ("dqn", "CartPole-v1", {}),
    ("dqn", "CartPole-v1", {"num_envs": 3}),
    ("dqn", "CartPole-v1", {"num_envs": 3, "changes": {"buffer_size": 64, "train_every": 1}}),
    ("dqn", "CartPole-v1", {"sign_reward": True, "reseed_episodes": True}),
    ("dqn", "MountainCar-v0", {"changes": {"epsilon_decay": "exponential", "epsilon_steps": 500}}),
    ("dqn", "Acrobot-v1", {"num_envs": 2, "normalize_obs": True}),
    ("dqn", "LunarLander-v3", {"num_envs": 3, **NORMALIZED}),
    ("ppo", "CartPole-v1", {}),
    ("ppo", "CartPole-v1", {"num_envs": 3, "reseed_episodes": True}),
    ("ppo", "MountainCar-v0", {"changes": {"shared_network": True}}),
    ("ppo", "Pendulum-v1", {"num_envs": 3}),
    ("ppo", "Pendulum-v1", {"num_envs": 2, "normalize_reward": True}),
    ("ppo", "MountainCarContinuous-v0", NORMALIZED),
    ("ppo", "LunarLander-v3", {"num_envs": 2}),
]


@pytest.mark.parametrize(("name", "env_id", "more"), CASES)
def test_native_equals_eager_to_the_bit(name, env_id, more):
    """Also at the end of the budget within a step, and where a run changes from one to the other."""
    eager, native, mixed = (
        Loop(name, env_id, on, python_envs=on, **more) for on in (False, True, True)
    )
    assert type(native.collector) is NativeCollector
    collectors = {50: mixed.eager, 301: mixed.collector, 703: mixed.eager, BUDGET: mixed.collector}
    for until, collector in collectors.items():
        mixed.collector = collector
        for loop in (eager, native, mixed):
            loop.run(until)
        assert_same_bits(eager.state(), native.state())
        assert_same_bits(eager.state(), mixed.state())
    assert eager.step == BUDGET
    if more.get("changes", {}).get("train_every") != 1:
        assert native.calls < eager.calls * 2 / 3


N_STEP = list(itertools.product([1, 2, 3, 5], [1, 4], ["q_learning", "sarsa"]))


@pytest.mark.parametrize(("n", "num_envs", "bootstrap"), N_STEP if FULL else N_STEP[10:11])
def test_n_step_rows_and_inline_updates_equal_the_eager_way(n, num_envs, bootstrap):
    """The first rows come n-1 steps late, when updates are due but replay is smaller than a batch; then
    episodes end within n steps and the buffer wraps around; the run is resumed in the middle."""
    changes = {"n_step": n, "buffer_size": 200, "bootstrap": bootstrap}
    changes |= {"learning_starts": 4, "train_every": 4, "target_update_every": 30}
    more = {"num_envs": num_envs, "changes": changes, "compiled": True, "python_envs": True}
    eager, native = (Loop("dqn", "CartPole-v1", on, **more) for on in (False, True))
    assert type(native.collector) is NativeCollector
    for until in (18, 50, 301):
        for loop in (eager, native):
            loop.run(until)
        assert_same_bits(eager.state(), native.state())
    assert native.metrics == eager.metrics
    assert native.inline_updates > len(native.metrics) / 2
    resumed = native.resumed()
    for loop in (eager, native, resumed):
        loop.run(BUDGET)
    assert_same_bits(eager.state(), native.state())
    assert_same_bits(eager.state(), resumed.state())
    assert native.metrics == eager.metrics
    assert resumed.metrics == eager.metrics[-len(resumed.metrics) :]
    assert resumed.inline_updates > len(resumed.metrics) / 2
    assert eager.algo.replay.added > eager.algo.replay.capacity
    assert eager.inline_updates == 0


@pytest.mark.parametrize("env", ["cartpole", "mountaincar"] if FULL else ["mountaincar"])
def test_shipped_presets_run_natively_with_inline_updates(here, tiny, monkeypatch, env):
    """`algo=dqn env=cartpole` and `env=mountaincar`, both n_step: 3; updates only start sooner."""
    config = compose("algo=dqn", f"env={env}", *compiled(tiny), "algo.learning_starts=150")
    config["total_timesteps"] = 800
    config["run_dir"] = str(here / "r")
    made = recorded_collectors(monkeypatch)
    train(config, ("dqn", env))
    inner, history = made[0].inner, [collected.metrics for collected in made[0].collected]
    assert type(inner) is NativeEnvCollector
    assert inner.algo.cfg.n_step == 3
    assert sum(len(metrics["loss"]) for metrics in history if metrics is not None) > 0


@pytest.mark.parametrize("env", [{}, {"sign_reward": True}])
@pytest.mark.parametrize("number", [np.nan, np.inf, 0.0])
def test_greedy_action_of_equal_and_nan_values_is_numpys_argmax(env, number):
    greedy = {
        "learning_starts": 0,
        "epsilon_steps": 1,
        "train_every": 200,
        "target_update_every": 200,
    }
    loops = [Loop("dqn", "CartPole-v1", on, changes=greedy, **env) for on in (False, True)]
    for loop in loops:
        loop.algo.learner.arrays["q.1.bias"][1] = number
        loop.run(150)  # before the first update, which would fail
    assert_same_bits(*(loop.state() for loop in loops))


def test_without_a_compiled_forward_pass_the_native_collector_steps_eagerly():
    """C and numpy round the network differently: a run without a compiled step acts in numpy."""
    loop = Loop("dqn", "CartPole-v1", True)
    loop.algo.learner.compile_with(None)  # the step turned out not to compile
    assert loop.collector.collect(0, 100) == (1, None)


class Recorder:
    """A collector that keeps what another one returns."""

    def __init__(self, inner):
        self.inner, self.envs, self.collected = inner, inner.envs, []

    def collect(self, step, until):
        self.collected.append(self.inner.collect(step, until))
        return self.collected[-1]


def recorded_collectors(monkeypatch, make=factory.make_collector):
    """The collectors of the runs to come, as recorders."""
    made = []

    def recorded(*parts):
        made.append(Recorder(make(*parts)))
        return made[-1]

    monkeypatch.setattr(build, "make_collector", recorded)
    return made


def make_eager(algo, envs, budget, interrupted):
    return EagerCollector(algo, envs, budget)


def compiled(words):
    return [word for word in words if not word.startswith("compile=")] + ["compile=true"]


def test_run_folder_is_the_same_with_either_collector(here, tiny, monkeypatch):
    """Rows, evaluations (which read the envs' statistics) and every checkpoint."""
    overrides = [word for word in compiled(tiny) if not word.startswith("eval.")]
    overrides += ["env.normalize_obs=true", "eval.every=70", "eval.episodes=2"]
    overrides += ["algo.hidden_sizes=[16]", "checkpoint.every=90", "checkpoint.keep=9"]
    overrides += ["log.every=50"]
    made = recorded_collectors(monkeypatch)
    _, native = run(here, "native", *overrides)
    recorded_collectors(monkeypatch, make_eager)
    _, eager = run(here, "eager", *overrides)
    assert max(collected.steps for collected in made[0].collected) > 1
    assert rows(native / "eval.csv") == rows(eager / "eval.csv")
    times = ("time/steps_per_second", "time/elapsed")
    for one, other in zip(rows(native / "metrics.csv"), rows(eager / "metrics.csv"), strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {
            k: v for k, v in other.items() if k not in times
        }
    steps = manifest.steps_in(native / "checkpoints")
    assert steps == manifest.steps_in(eager / "checkpoints")
    assert len(steps) >= 4
    for step in steps:
        assert contents(native, step) == contents(eager, step)


class Signals(gym.Env):
    """A signal arrives in the thirtieth step, early in an episode."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def __init__(self, render_mode=None):
        self.age, self.render_mode = 0, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.age += 1
        if self.age == 30:
            signal.raise_signal(signal.SIGTERM)
        return np.zeros(2, np.float32), 1.0, self.age % 25 == 0, False, {}


gym.register("Signals-v0", Signals)


def test_signal_ends_the_run_after_the_step_in_which_it_arrives(here, tiny, monkeypatch):
    """Not up to 512 steps later: those of a slow env take minutes."""
    made = recorded_collectors(monkeypatch)
    outcome, _ = run(here, "r", *compiled(tiny), "env.id=Signals-v0", env="custom")
    assert type(made[0].inner) is NativeCollector
    assert (outcome.exit_code, outcome.step) == (143, 30)


class Breaks(gym.Env):
    """Fails in its fortieth step."""

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
def test_failing_env_is_reported_at_the_same_step_by_either_collector(
    here, tiny, monkeypatch, how, kind
):
    """By env, step of the run and step of the episode, though the call had completed 14 steps."""
    words = [*compiled(tiny), "env.id=Breaks-v0", f"++env.kwargs.how={how}", "step_timeout=1"]
    made, errors = recorded_collectors(monkeypatch), []
    for name in ("native", "eager"):
        with pytest.raises(kind) as caught:
            run(here, name, *words, env="custom")
        errors.append(caught.value)
        recorded_collectors(monkeypatch, make_eager)
    native, eager = errors
    assert type(made[0].inner) is NativeCollector
    assert (native.steps, eager.steps) == (14, 0)  # since the episode before ended
    assert (native.what, native.where) == (eager.what, eager.where)
    assert native.where.startswith("step=39, env=0")
