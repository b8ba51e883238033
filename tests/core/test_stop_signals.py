"""Which signals repeat the first one."""

from __future__ import annotations

import time
from signal import SIGINT, SIGTERM

import pytest

from rl_cli.core import stop_signals
from rl_cli.core.stop_signals import Repeats

SIGHUP = stop_signals.SIGHUP


@pytest.fixture
def at(monkeypatch):
    """Sets the clock to a number of seconds."""
    return lambda seconds: monkeypatch.setattr(time, "monotonic", lambda: 50 + seconds)


@pytest.mark.parametrize(
    ("signals", "repeats"),
    [
        ([(SIGTERM, 0), (SIGTERM, 0), (SIGTERM, 0.9)], [False, True, True]),
        ([(SIGTERM, 0), (SIGTERM, 1.1)], [False, False]),
        ([(SIGINT, 0), (SIGTERM, 0.5), (SIGINT, 0.6)], [False, True, False]),
        ([(SIGINT, 0), (SIGINT, 0.1)], [False, False]),
        ([(SIGTERM, 0), (SIGHUP, 99), (SIGTERM, 99)], [False, True, False]),
        ([(SIGHUP, 0), (SIGHUP, 99)], [False, True]),
    ],
)
def test_repeats_follow_the_first_signal_within_a_second_or_are_hangups(at, signals, repeats):
    found = Repeats()
    for (signum, seconds), expected in zip(signals, repeats, strict=True):
        at(seconds)
        assert found.is_repeat(signum) == expected


def test_signal_before_training_is_the_first(at):
    at(0)
    found = Repeats(started=True)
    assert found.is_repeat(SIGTERM)
    at(2)
    assert not found.is_repeat(SIGTERM)
    found.restart()
    assert not found.is_repeat(SIGTERM)
