"""B2: B1 can fail: leave out one part of the state, and the run ends with other bits."""

from __future__ import annotations

import numpy as np
import pytest

from rl_cli.storage import checkpoint_reader
from tests.bars.killing import FULL, arguments, at, die, digests, start


def _zero(array):
    return np.zeros_like(array)


def _learner(name):
    def drop(state):
        state["algo"]["learner"][name] = _zero(state["algo"]["learner"][name])

    return drop


def _updates(state):
    state["algo"]["learner"]["updates"] += 1


def _replay(state):
    state["algo"]["buffer"].update(position=0, size=0)


def _rollout(state):
    state["algo"]["buffer"].update(position=0)


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
    state["best_return"] = 1e9


def _gathered(state):
    state["logger"]["gathered"] = {}


def _episodes(state):
    state["logger"]["tally"]["count"] += 1


def _window(state):
    state["logger"]["window"] = []


def _numbers(state):
    state["envs"]["numbers"] = [0, 0]


def _last_evaluations(state):
    state["evaluations"] = []


def _noise(state):
    state["algo"]["noise"]["matrices"] = _zero(state["algo"]["noise"]["matrices"])


def _steps(state):
    state["algo"]["buffer"]["steps"] += 100


def _mean_return(state):
    state["algo"]["mean"] += 1.0


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
    ("dqn", "Adam's m", _learner("momentum")),
    ("dqn", "replay", _replay),
    ("dqn", "exploration's stream", _stream("explore_rng")),
    ("dqn", "actions of the episode under way", _actions),
]
MORE = [
    ("dqn", "Adam's v", _learner("variance")),
    ("dqn", "target network", _learner("target")),
    ("dqn", "count of updates", _updates),
    ("dqn", "minibatches' stream", _stream("sample_rng")),
    ("ppo", "rollout under way", _rollout),
    ("ppo", "scale of rewards", _scale),
    ("ppo", "time-limit counters", _lengths),
    ("ppo", "best return so far", _best),
    ("ppo", "metrics of the row under way", _gathered),
    ("ppo", "count of episodes", _episodes),
    ("ppo", "running mean of returns", _window),
    ("ppo", "means of the last evaluations", _last_evaluations),
    ("ppo_by_episodes", "gSDE's noise", _noise),
    ("ppo_by_episodes", "steps since the update", _steps),
    ("dqn_rainbow", "priorities", _priorities),
    ("dqn_rainbow", "largest priority", _top),
    ("dqn_rainbow", "steps looked ahead in", _lookahead),
    ("dqn_sarsa", "when it was sorted", _sorted_at),
    ("dqn_sarsa", "episodes that epsilon counts", _past_episodes),
    ("reinforce_mean", "mean of earlier returns", _mean_return),
    ("dqn_by_episodes", "numbers of the episodes", _numbers),
]


@pytest.mark.parametrize(
    ("algo", "what", "drop"), [pytest.param(*c, id=c[1]) for c in QUICK + (MORE if FULL else [])]
)
def test_without_it_the_bits_differ(here, algo, what, drop):
    env = "pendulum" if algo == "ppo_by_episodes" else "mountaincar"
    base = arguments(algo, env, here / "r")
    assert (
        start(base, lambda: at("step", 195, die)) == -9
    )  # the last checkpoint: mid-episode, mid-rollout, mid-row

    def forget():
        plain = checkpoint_reader.read_state

        def read_state(*args):
            state = plain(*args)
            drop(state)
            return state

        checkpoint_reader.read_state = read_state

    import shutil

    shutil.copytree(here / "r", here / "exact")
    assert start(["resume=exact", "quiet=true"]) == 0
    assert start(["resume=r", "quiet=true"], forget) == 0
    assert digests(here / "r") != digests(here / "exact"), f"nobody misses {what}"
    print(f"B2 got/needed: 1/1, {what} is missed")
