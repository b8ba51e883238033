"""Callbacks: triggers, the order of calls, and the states in a checkpoint."""

from __future__ import annotations

import pytest

from rl_cli.core.types import Episode
from rl_cli.training.callbacks.base import NEVER, Callback, CallbackList
from rl_cli.training.callbacks.triggers import Trigger


class State:
    """A run at an env step, with a number of finished episodes."""

    def __init__(self, step=0, episodes=0):
        self.step, self.episodes, self.elapsed = step, episodes, 0.0

    def state_dict(self):
        return {}


class RecordingCallback(Callback):
    """Appends each call of `run` to a list."""

    def __init__(self, name, calls, due=NEVER, reason=None):
        self.name, self.calls, self.due, self.reason = name, calls, due, reason
        self.loaded = None

    def run(self, state):
        self.calls.append((self.name, state.step))

    def next_due(self, step):
        return self.due

    def stop_reason(self, state):
        return self.reason

    def state_dict(self):
        return {"calls": len(self.calls)}

    def load_state_dict(self, state):
        self.loaded = state


def test_next_due_is_the_nearest_multiple_of_any_trigger():
    triggers = [Trigger(100), Trigger(250), Trigger(0), Trigger(1_000)]
    due = [min(t.next_due(step) for t in triggers) for step in (0, 99, 100, 200, 249, 250, 990)]
    assert due == [100, 100, 200, 250, 250, 300, 1_000]


def test_trigger_fires_once_when_a_counter_crosses_multiples():
    """8 envs step from 96 over 100 to 104; episodes 3 and 6 of every third are crossed at once."""
    trigger = Trigger(100, every_episodes=3)
    fired = [trigger.fire(step, episodes) for step, episodes in ((96, 0), (104, 2), (112, 7))]
    assert fired == [(False, False), (True, False), (False, True)]
    assert not trigger.fire(112, 7)
    assert bool(trigger.is_due(200, 7))
    assert bool(trigger.is_due(200, 7))  # `is_due` changes no counter


def test_restarted_trigger_does_not_fire_for_earlier_multiples():
    trigger = Trigger(100)
    trigger.restart(250, 9)
    assert not trigger.fire(299, 9)
    assert trigger.fire(300, 9)


def test_callbacks_run_in_the_given_order_and_the_earliest_due_step_counts():
    calls = []
    both = CallbackList(
        [RecordingCallback("b", calls, due=30), RecordingCallback("a", calls, due=20)]
    )
    both.run(State(7))
    assert calls == [("b", 7), ("a", 7)]
    assert both.next_due(0) == 20
    assert CallbackList([]).next_due(0) == NEVER


def test_first_callback_with_a_reason_stops_the_run():
    reasons = [None, "first", "second"]
    callbacks = CallbackList([RecordingCallback(str(r), [], reason=r) for r in reasons])
    assert callbacks.stop_reason(State()) == "first"
    assert CallbackList([RecordingCallback("a", [])]).stop_reason(State()) is None


def test_states_are_stored_by_name_and_a_missing_one_is_not_loaded():
    one, other = RecordingCallback("one", [1, 2]), RecordingCallback("other", [])
    both = CallbackList([one, other])
    assert both.state_dict() == {"one": {"calls": 2}, "other": {"calls": 0}}
    both.load_state_dict({"one": {"calls": 5}, "removed": {"calls": 1}})
    assert (one.loaded, other.loaded) == ({"calls": 5}, None)


def test_callback_without_a_state_is_not_stored():
    assert CallbackList([type("Bare", (Callback,), {"name": "bare"})()]).state_dict() == {}


def test_two_callbacks_of_the_same_name_raise():
    with pytest.raises(ValueError, match="different names"):
        CallbackList([RecordingCallback("a", []), RecordingCallback("a", [])])


def test_every_method_of_a_callback_has_a_default():
    bare = type("Bare", (Callback,), {"name": "bare"})()
    everything = CallbackList([bare])
    state = State(10, 1)
    everything.start(state)
    everything.update({})
    everything.add_episodes([Episode(1.0, 2)], [], state)
    assert not everything.is_due(state)
    everything.run(state)
    everything.finish(state)
    everything.interrupt(state)
    everything.join()
    everything.close()
