"""Steps in a row of any envs: what comes from outside, or was not thought of, is met as ever."""

import signal

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.collectors import native_envs
from rl_cli.collectors.native import NativeCollector
from tests.collectors.test_native_envs import Loop, same
from tests.engine.test_compiler import needs_compiler
from tests.training.test_trainer import run

pytestmark = needs_compiler


class Signals(gym.Env):
    """Somebody asks the run to stop in its thirtieth step, early in an episode."""

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


def test_a_signal_is_heard_after_the_step_in_which_it_comes(here, tiny, monkeypatch):
    """Not hundreds of steps later: those of an env that is slow take minutes."""
    words = [word for word in tiny if not word.startswith("compile=")]
    words += ["env.id=Signals-v0", "compile=true"]
    prepare, made = native_envs.prepared, []
    monkeypatch.setattr(
        native_envs, "prepared", lambda *parts: made.append(prepare(*parts)) or made[-1]
    )
    outcome, _ = run(here, "r", *words, env="custom")
    assert type(made[0]) is NativeCollector
    assert (outcome.exit_code, outcome.step) == (143, 30)


@pytest.mark.parametrize("env", [{}, {"sign_reward": True}])
@pytest.mark.parametrize("number", [np.nan, np.inf, 0.0])
def test_a_value_that_is_no_number_is_chosen_as_numpy_chooses(env, number):
    greedy = {
        "learning_starts": 0,
        "epsilon_steps": 1,
        "train_every": 200,
        "target_update_every": 200,
    }
    loops = [Loop("dqn", "CartPole-v1", on, changes=greedy, **env) for on in (False, True)]
    for loop in loops:
        loop.algo.learner.arrays["q.1.bias"][1] = number
        loop.run(150)  # before an update, which would not go on
    same(*(loop.state() for loop in loops))


@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name in ("dqn", "ppo") for part in ("buffer", "learner", "net")],
)
def test_parts_of_ones_own_are_not_passed_by(name, part):
    """They may remember, learn and act otherwise than those that C knows."""
    loop = Loop(name, "CartPole-v1", False)
    assert native_envs.prepared(loop.algo, loop.envs) is not None
    own = getattr(loop.algo, part)
    own.__class__ = type("Mine", (type(own),), {})
    assert native_envs.prepared(loop.algo, loop.envs) is None
