"""The clock of the monitors."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rl_cli.tracking import console, live


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=1_000.0)
    for module in (console, live):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now
