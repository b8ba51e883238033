"""State of a run: its clock, a pending update, and states of checkpoint formats 1 to 3."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl_cli.cli import train as rl_train
from rl_cli.core.fields import StateError
from rl_cli.storage import checkpoint_reader
from rl_cli.training.callbacks.base import CallbackList
from rl_cli.training.callbacks.early_stopping import EarlyStopping
from rl_cli.training.callbacks.history import EvaluationHistory
from rl_cli.training.exactness import Exactness
from rl_cli.training.state import TrainingState
from rl_cli.training.state_migration import upgraded

GOLDEN = Path(__file__).parents[1] / "golden"
LATEST = [9, 4.0, 1.0, 4.0, 4.0, 3.0, 5.0, 2.0, 6.0, 11.0, 0.5, 3.0]
"""The fields of a `Summary`."""


class Part:
    """An algorithm, or the envs of a collector: stores a number."""

    def __init__(self, number):
        self.number = number

    def state_dict(self):
        return {"number": self.number}

    def load_state_dict(self, state):
        self.number = state["number"]
        return []


def training_state(number=0, callbacks=()):
    return TrainingState(
        Part(number), SimpleNamespace(envs=Part(10 * number)), CallbackList(callbacks), Exactness()
    )


def flat_state(**changes):
    """A state of format 3 or earlier: flat keys, without `callbacks`."""
    state = {
        "step": 400,
        "elapsed": 2.5,
        "algo": {"number": 1},
        "envs": {"number": 10},
        "logger": {"gathered": {}, "episodes": [], "tally": {"count": 17}},
        "recent": [1.0, 5.0],
        "evaluations": [2.0, 4.0],
        "evaluated_at": 300,
        "latest": LATEST,
        "best_return": 4.0,
        "owes_evaluation": True,
    }
    return {k: v for k, v in (state | changes).items() if v is not None}


def test_flat_keys_become_the_states_of_callbacks():
    state = flat_state()
    assert upgraded(state) == {
        "step": 400,
        "elapsed": 2.5,
        "episodes": 17,
        "algo": {"number": 1},
        "envs": {"number": 10},
        "callbacks": {
            "metrics": state["logger"],
            "evaluation": {
                "means": [2.0, 4.0],
                "step": 300,
                "latest": LATEST,
                "best_return": 4.0,
                "interrupted": True,
            },
            "early_stopping": {"returns": [1.0, 5.0]},
        },
    }


def test_flat_state_without_a_tally_and_without_evaluation_means():
    """As in the golden runs: the logger stored only the number of episodes."""
    logger = {"gathered": {}, "episodes": [], "episodes_total": 40}
    state = upgraded(flat_state(logger=logger, evaluations=None))
    assert state["episodes"] == 40
    assert state["callbacks"]["evaluation"]["means"] == []


def test_state_of_the_current_format_is_not_changed():
    state = training_state(3).state_dict()
    assert upgraded(state) is state


def test_flat_state_is_loaded_into_the_parts_and_callbacks_of_a_run():
    history = EvaluationHistory(window=3)
    stopping = EarlyStopping(SimpleNamespace(window=5), history)
    evaluation = SimpleNamespace(name="evaluation", load_state_dict=history.load_state_dict)
    state = training_state(callbacks=[evaluation, stopping])
    assert state.load_state_dict(flat_state()) == []
    assert (state.step, state.episodes, state.elapsed) == (400, 17, 2.5)
    assert (state.served, state.update_pending) == ((400, 17), False)
    assert (state.algo.number, state.collector.envs.number) == (1, 10)
    assert list(history.means) == [2.0, 4.0]
    assert (history.step, history.best_return, history.interrupted) == (300, 4.0, True)
    assert list(history.latest) == LATEST
    assert list(stopping.returns) == [1.0, 5.0]


@pytest.mark.parametrize("key", ["logger", "recent", "evaluated_at", "best_return", "algo"])
def test_flat_state_without_a_required_key_raises(key):
    with pytest.raises(StateError, match=key):
        training_state().load_state_dict(flat_state(**{key: None}))


def test_state_of_a_pending_update_contains_when_the_callbacks_last_ran():
    """The resumed run makes the update first, and triggers count from the step before it."""
    state = training_state(3)
    state.add_steps(90)
    state.add_episodes(4)
    state.mark_served()
    state.add_steps(10)
    state.add_episodes(1)
    assert "served" not in state.state_dict()
    state.postpone_update()
    resumed = training_state()
    resumed.load_state_dict(state.state_dict())
    assert (resumed.step, resumed.episodes) == (100, 5)
    assert (resumed.served, resumed.update_pending) == ((90, 4), True)
    resumed.complete_update()
    assert "served" not in resumed.state_dict()
    again = training_state()
    again.load_state_dict(resumed.state_dict())
    assert (again.served, again.update_pending) == ((100, 5), False)


def test_elapsed_contains_the_running_clock_without_the_stopped_one(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    state = training_state()
    wait(1)
    with state.clock_running():
        wait(2)
        with state.clock_stopped():
            assert state.elapsed == 2  # callbacks read it while the clock is stopped
            wait(4)
        wait(8)
    wait(16)
    assert state.elapsed == 10
    with contextlib.suppress(RuntimeError), state.clock_running():
        wait(32)
        raise RuntimeError
    assert state.elapsed == 42  # also after an error


@pytest.mark.parametrize("number", [1, 2, 3])
def test_resumed_run_of_an_older_format_keeps_its_counters_and_returns(here, number):
    """The new state starts with what the old checkpoint contains."""
    shutil.copytree(GOLDEN / f"format_{number}/reinforce", here / "r")
    old = json.loads((here / "r/checkpoints/000004000/state.json").read_text())
    assert "callbacks" not in old
    assert rl_train.run(["resume=r", "total_timesteps=4400", "eval.every=0", "quiet=true"]) == 0
    path = checkpoint_reader.find(here / "r", "4400")
    state = checkpoint_reader.read_state(path, checkpoint_reader.read_manifest(path))
    before, after = upgraded(old), state
    finished = after["episodes"] - before["episodes"]
    assert finished > 0
    window = after["callbacks"]["early_stopping"]["returns"]
    kept = before["callbacks"]["early_stopping"]["returns"]
    assert len(kept) == len(window) == 100
    assert window[:-finished] == kept[finished:]
    assert after["elapsed"] > before["elapsed"]
    best = before["callbacks"]["evaluation"]["best_return"]
    assert after["callbacks"]["evaluation"]["best_return"] >= best
