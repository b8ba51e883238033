"""B5: a checkpoint's state from anybody is refused or continues; it never corrupts memory.

Each value of the real state of each kind of run is replaced by numbers out of range, other types, arrays of
other shapes (forged_states.py). Loading it raises StateError, or the run continues with finite numbers.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
from collections import Counter

import pytest

import rl_cli
from tests.bars.forged_states import RUNS, Forgery
from tests.bars.results import report
from tests.conftest import FULL

QUICK = 120
"""Forged states of each kind of run in the short form."""

ABSTRACT = {"Buffer", "Gatherer", "Callback", "RunState", "WorkerVectorEnv"}
"""Interfaces; and a class that inherits its reader."""


@pytest.mark.parametrize("name", RUNS)
def test_forged_state_is_refused_or_continues(name):
    forgery = Forgery(name)
    assert forgery.outcome(forgery.forged(("tree", ()), "as it is")) == "continued"
    leaves = list(forgery.leaves())
    chosen = leaves if FULL else random.Random(name).sample(leaves, QUICK)
    outcomes = Counter()
    for place, how in chosen:
        try:
            outcomes[forgery.outcome(forgery.forged(place, how))] += 1
        except Exception as error:
            pytest.fail(f"{place} = {how!r}: {type(error).__name__}: {error}")
    assert set(outcomes) <= {"refused", "not finite", "continued"}
    assert outcomes["refused"] > len(chosen) / 2
    assert forgery.outcome(forgery.forged(("tree", ()), "as it is")) == "continued"
    report(5, sum(outcomes.values()), len(chosen), f"forged states of {name}: {dict(outcomes)}")


def test_every_class_with_a_state_is_in_one_of_the_runs(monkeypatch):
    """The classes of the package whose `load_state_dict` none of the runs calls are interfaces."""
    classes, called = set(), set()
    for module in pkgutil.walk_packages(rl_cli.__path__, "rl_cli."):
        for cls in vars(importlib.import_module(module.name)).values():
            own = inspect.isclass(cls) and cls.__module__.startswith("rl_cli")
            if own and "load_state_dict" in vars(cls):
                classes.add(cls)
    for cls in classes:
        original = cls.load_state_dict

        def load(self, *state, original=original, name=cls.__name__):
            called.add(name)
            return original(self, *state)

        monkeypatch.setattr(cls, "load_state_dict", load)
    for name in RUNS:
        forgery = Forgery(name)
        forgery.outcome(forgery.forged(("tree", ()), "as it is"))
    assert {cls.__name__ for cls in classes} - called <= ABSTRACT
