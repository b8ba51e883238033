"""Rows of training metrics: speed, gradients that are not finite, divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl_cli.core.errors import NonFinite
from rl_cli.tracking.logger import Logger
from rl_cli.training.callbacks.metrics import MetricsCallback
from rl_cli.training.callbacks.reporter import Reporter
from rl_cli.training.callbacks.triggers import Trigger


class Rows:
    """A sink, and a monitor, that keep what they receive."""

    def __init__(self):
        self.rows, self.notes = {}, []

    def write_row(self, step, row):
        self.rows[step] = row

    def row(self, step, row, always_print=False):
        pass

    def note(self, text):
        self.notes.append(text)


class State:
    served, update_pending = (0, 0), False

    def __init__(self, step, elapsed, episodes=0):
        self.step, self.elapsed, self.episodes = step, elapsed, episodes


@pytest.fixture
def rows():
    return Rows()


def callback(rows, compile_seconds=lambda: 0.0, check_every=1):
    reporter = Reporter(Logger([rows]), rows)
    made = MetricsCallback(reporter, Trigger(100), compile_seconds, check_every)
    made.start(State(0, 0.0))
    return made


def test_steps_per_second_leaves_compile_time_out(rows):
    """100 steps in 10 s, 8 of them compiling, are 50 steps/s; the next 100 in 1 s are 100 steps/s."""
    seconds = [0.0]
    metrics = callback(rows, lambda: seconds[0])
    seconds[0] = 8.0
    metrics.run(State(100, 10.0))
    metrics.run(State(200, 11.0))
    speeds = [rows.rows[step]["time/steps_per_second"] for step in (100, 200)]
    assert speeds == [pytest.approx(50.0), pytest.approx(100.0)]
    assert rows.rows[100]["time/elapsed"] == 10.0


def test_a_row_is_written_at_the_interval_and_once_at_the_end(rows):
    metrics = callback(rows)
    for step in (99, 100, 150):
        metrics.run(State(step, 1.0))
    assert list(rows.rows) == [100]
    metrics.finish(State(150, 2.0))
    metrics.finish(State(150, 2.0))
    assert list(rows.rows) == [100, 150]


def test_a_gradient_that_is_not_finite_ends_the_run(rows):
    metrics = callback(rows)
    metrics.update({"loss": np.ones(2), "grad_norm": np.array([1.0, 2.0])})
    with pytest.raises(NonFinite, match="train/grad_norm is nan"):
        metrics.update({"loss": np.ones(2), "grad_norm": np.array([1.0, math.nan])})


def test_gradients_are_checked_every_n_updates(rows):
    metrics = callback(rows, check_every=3)
    bad = {"loss": np.ones(1), "grad_norm": np.array([math.inf])}
    metrics.update(bad)
    metrics.update(bad)
    with pytest.raises(NonFinite):
        metrics.update(bad)


def test_divergence_is_reported_once(rows):
    """Ten rows with loss 1, then two with 20,000 times that."""
    metrics = callback(rows)
    for i in range(12):
        loss = 1.0 if i < 10 else 20_000.0
        metrics.update({"loss": np.array([loss]), "grad_norm": np.ones(1)})
        metrics.run(State(100 * (i + 1), float(i)))
    (note,) = rows.notes
    assert "train/loss is 2.0e+04 at step 1,100" in note
