"""B2: the comparison of B1 detects every part of the state: without one of them a resumed run differs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from rl_cli.storage import checkpoint_reader
from tests.bars.kill_points import run_digests, short_run, train_in_child, train_until_killed
from tests.bars.results import report
from tests.conftest import FULL


def _zero(array):
    return np.zeros_like(array)


def _learner(name):
    def drop(state):
        state["algo"]["learner"][name] = _zero(state["algo"]["learner"][name])

    return drop


def _updates(state):
    state["algo"]["learner"]["updates"] += 1


def _replay(state):
    for piece in state["algo"]["buffer"]["rows"]:
        piece["reward"] = piece["reward"] + 1


def _rollout(state):
    rows = state["algo"]["buffer"]["rows"]
    rows["reward"] = rows["reward"] + 1


def _stream(name):
    def drop(state):
        state["algo"][name]["state"]["state"] += 2

    return drop


def _actions(state):
    state["envs"]["actions"] = [a[:-1] for a in state["envs"]["actions"]]


def _lengths(state):
    state["envs"]["lengths"] = state["envs"]["lengths"] * 0


def _scale(state):
    state["envs"]["reward"] = {
        k: v * 2 + 1 if isinstance(v, np.ndarray | float | int) else v
        for k, v in state["envs"]["reward"].items()
    }


def _best(state):
    state["callbacks"]["evaluation"]["best_return"] = 1e9


def _gathered(state):
    state["callbacks"]["metrics"]["gathered"] = {}


def _episodes(state):
    state["callbacks"]["metrics"]["tally"]["count"] += 1


def _window(state):
    state["callbacks"]["metrics"]["window"] = []


def _numbers(state):
    state["envs"]["numbers"] = [0, 0]


def _last_evaluations(state):
    state["callbacks"]["evaluation"]["means"] = []


def _noise(state):
    state["algo"]["noise"]["matrices"] = _zero(state["algo"]["noise"]["matrices"])


def _steps(state):
    state["algo"]["buffer"]["steps"] += 100


def _mean_return(state):
    state["algo"]["mean"] += 1.0


def _online(state):
    average = state["algo"]["average"]
    average["online"] = average["online"] + 1


def _priorities(state):
    state["algo"]["buffer"]["priority"] = state["algo"]["buffer"]["priority"] * 0


def _top(state):
    state["algo"]["buffer"]["top"] *= 3


def _lookahead(state):
    gathered = state["algo"]["buffer"]["gathered"]
    gathered["reward"] = gathered["reward"] + 1


def _sorted_at(state):
    state["algo"]["buffer"]["sorted_at"] -= 100


def _past_episodes(state):
    state["algo"]["episodes"] += 3


QUICK = [
    ("dqn", "Adam's first moment", _learner("momentum")),
    ("dqn", "replay", _replay),
    ("dqn", "random stream of exploration", _stream("explore_rng")),
    ("dqn", "actions of the current episode", _actions),
]
MORE = [
    ("dqn", "Adam's second moment", _learner("variance")),
    ("dqn", "target network", _learner("target")),
    ("dqn", "number of updates", _updates),
    ("dqn", "random stream of minibatches", _stream("sample_rng")),
    ("ppo", "partial rollout", _rollout),
    ("ppo", "reward normalization", _scale),
    ("ppo", "time-limit counters", _lengths),
    ("ppo", "best return so far", _best),
    ("ppo", "metrics of the next row", _gathered),
    ("ppo", "number of episodes", _episodes),
    ("ppo", "window of recent returns", _window),
    ("ppo", "returns of recent evaluations", _last_evaluations),
    ("ppo_by_episodes", "gSDE noise matrices", _noise),
    ("ppo_by_episodes", "steps since the last update", _steps),
    ("dqn_rainbow", "priorities", _priorities),
    ("dqn_rainbow", "largest priority", _top),
    ("dqn_rainbow", "n-step window", _lookahead),
    ("dqn_sarsa", "step of the last sort", _sorted_at),
    ("dqn_sarsa", "number of episodes for epsilon", _past_episodes),
    ("reinforce_mean", "mean of past returns", _mean_return),
    ("dqn_by_episodes", "episode numbers", _numbers),
    ("dqn_by_episodes", "weights that are not averaged", _online),
]


@pytest.mark.parametrize(
    ("algo", "part", "drop"), [pytest.param(*c, id=c[1]) for c in QUICK + (MORE if FULL else [])]
)
def test_resume_without_one_part_of_the_state_differs(here, algo, part, drop):
    env = "pendulum" if algo == "ppo_by_episodes" else "mountaincar"
    base = short_run(algo, env, here / "r")
    # the last checkpoint is in the middle of an episode, a rollout and a row
    train_until_killed(base, "step", 195)

    def drop_on_read():
        original = checkpoint_reader.read_state

        def read_state(*args):
            state = original(*args)
            drop(state)
            return state

        checkpoint_reader.read_state = read_state

    shutil.copytree(here / "r", here / "exact")
    assert train_in_child(["resume=exact", "quiet=true"]) == 0
    assert train_in_child(["resume=r", "quiet=true"], drop_on_read) == 0
    assert run_digests(here / "r") != run_digests(here / "exact"), f"no difference without {part}"
    report(2, 1, 1, f"without {part}")
