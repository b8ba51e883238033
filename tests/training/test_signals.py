"""Which signals a run listens to."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from rl_cli.core import stop_signals
from rl_cli.training.signals import Interruption


@pytest.fixture
def interruption():
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGUSR1)}
    yield Interruption(SimpleNamespace(stopping=lambda: None))
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_signal_that_an_env_ignores_still_stops_the_run(interruption):
    with stop_signals.raising():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as the constructor of an env may
        with interruption.listening():
            signal.raise_signal(signal.SIGTERM)
    assert interruption.signum == signal.SIGTERM


def test_signal_that_was_ignored_from_the_start_stays_ignored(interruption):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with stop_signals.raising(), interruption.listening():
        signal.raise_signal(signal.SIGUSR1)
    assert interruption.signum is None
