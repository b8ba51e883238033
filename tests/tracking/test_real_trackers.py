"""The real packages of the trackers, where they are installed: without a network, and again under the same id."""

from __future__ import annotations

import importlib.util
import json
import sqlite3

import pytest

from rl_cli.tracking.sinks import SinkContext
from rl_cli.tracking.trackers.process import TRACKERS
from rl_cli.tracking.trackers.sink import TrackerSink


def steps_of(name, folder):
    """The steps of the rows, as the tracker has stored them; None: in a format of its own."""
    if name == "wandb":
        return None
    path, table = {
        "trackio": ("trackio/p.db", "metrics"),
        "mlflow": ("mlflow.db", "metrics"),
    }[name]
    with sqlite3.connect(folder / path) as database:
        return sorted(row[0] for row in database.execute(f"select step from {table}"))


@pytest.mark.parametrize("name", TRACKERS)
def test_rows_are_stored_and_a_resumed_run_keeps_its_id(name, here, monkeypatch):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"pip install 'rl-cli[{name}]'")
    monkeypatch.setattr("rl_cli.tracking.trackers.sink.CLOSE_SECONDS", 300.0)  # a busy machine
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(here / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    (here / "run").mkdir()
    (here / "run/status.json").write_text('{"state": "completed"}')
    ids, notes = [], []
    for resumed_at, step in ((None, 10), (10, 20)):
        context = SinkContext(
            here / "run", {"algo": "ppo", "env": "e"}, resumed_at, (), notes.append
        )
        sink = TrackerSink(name, "p", context)
        sink.write_row(step, {"train/loss": 0.5})
        sink.close()
        record = json.loads((here / f"run/trackers/{name}.json").read_text())
        assert record["step"] == step
        ids.append(record["id"])
    assert [note for note in notes if "waiting" not in note] == []
    assert ids[0] == ids[1]
    assert steps_of(name, here) in (None, [10, 20])
    assert len(list(here.glob("wandb/offline-run-*"))) == (2 if name == "wandb" else 0)
