"""Several sinks of one logger: the order of calls, a failing sink, and rows after a resume."""

from __future__ import annotations

import csv

import pytest

from rl_cli.core.errors import StorageError
from rl_cli.core.types import Episode
from rl_cli.tracking import csv_table
from rl_cli.tracking.csv_table import CsvSink
from rl_cli.tracking.logger import Logger
from rl_cli.tracking.sinks import SinkContext
from rl_cli.tracking.statistics import summarize

EPISODES = [Episode(2.0, 10), Episode(4.0, 30)]


class RecordingSink:
    """Appends each call to a list; raises StorageError while `fails` is true."""

    def __init__(self, name, calls, fails=False):
        self.name, self.calls, self.fails = name, calls, fails

    def _record(self, *call):
        self.calls.append((self.name, *call))
        if self.fails:
            raise StorageError("the disk is full", self.name)

    def write_row(self, step, row):
        self._record("row", step, row["rollout/episodes"])

    def write_evaluation(self, step, episodes, seed, row):
        self._record("evaluation", step, len(episodes), seed, row)

    def cut_after(self, row_step, evaluation_step):
        self._record("cut", row_step, evaluation_step)

    def flush(self):
        self._record("flush")

    def close(self):
        self._record("close")


def csv_logger(folder, resumed_at=None):
    return Logger([CsvSink(SinkContext(folder, {}, resumed_at))])


def steps(path):
    with path.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def write(logger, step):
    logger.write(step, logger.row({}))
    logger.write_evaluation(step, EPISODES, 5, summarize(EPISODES))


def test_each_call_reaches_every_sink_in_the_given_order():
    calls = []
    logger = Logger([RecordingSink("b", calls), RecordingSink("a", calls)])
    write(logger, 100)
    logger.flush()
    logger.close()
    summary = {"eval/episode_return": 3.0, "eval/episode_length": 20.0}
    assert calls == [
        (name, *call)
        for call in (
            ("row", 100, 0),
            ("evaluation", 100, 2, 5, summary),
            ("flush",),
            ("close",),
        )
        for name in ("b", "a")
    ]


def test_sinks_after_a_failing_one_do_not_receive_the_row_and_receive_the_next_one():
    """The state counts the row as written: the first sink keeps it, and a resume does not repeat it."""
    calls = []
    first, second = RecordingSink("first", calls, fails=True), RecordingSink("second", calls)
    logger = Logger([first, second])
    with pytest.raises(StorageError, match="the disk is full"):
        logger.write(100, logger.row({}))
    assert calls == [("first", "row", 100, 0)]
    assert logger.state_dict()["row_at"] == 100
    first.fails = False
    logger.write(200, logger.row({}))
    assert calls[1:] == [("first", "row", 200, 0), ("second", "row", 200, 0)]


def test_failed_rows_of_the_csv_sink_are_written_with_the_next_one(tmp_path, monkeypatch):
    logger = csv_logger(tmp_path)

    def full(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(csv_table, "append", full)
        for step in (100, 200):
            with pytest.raises(StorageError):
                logger.write(step, logger.row({}))
    assert steps(tmp_path / "metrics.csv") == []
    logger.write(300, logger.row({}))
    assert steps(tmp_path / "metrics.csv") == [100, 200, 300]


def test_loading_a_state_cuts_every_sink_after_the_last_row_and_evaluation_of_the_checkpoint():
    """Rows and evaluations have separate last steps: a row may be due where no evaluation is."""
    writer = Logger([])
    write(writer, 100)
    writer.write(200, writer.row({}))
    calls = []
    logger = Logger([RecordingSink("a", calls), RecordingSink("b", calls)])
    logger.load_state_dict(writer.state_dict())
    assert calls == [("a", "cut", 200, 100), ("b", "cut", 200, 100)]


def test_cut_after_removes_later_rows_of_the_tables_and_keeps_the_columns(tmp_path):
    logger = csv_logger(tmp_path)
    for step in (100, 200, 300):
        write(logger, step)
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    CsvSink(SinkContext(tmp_path, {}, None)).cut_after(200, 100)
    assert steps(tmp_path / "metrics.csv") == [100, 200]
    assert steps(tmp_path / "eval.csv") == [100, 100]
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == header


def test_new_run_keeps_the_rows_that_a_resumed_one_removes(tmp_path):
    for step in (100, 200, 300):
        write(csv_logger(tmp_path), step)
    assert steps(tmp_path / "metrics.csv") == [100, 200, 300]
    csv_logger(tmp_path, resumed_at=200)
    assert steps(tmp_path / "metrics.csv") == [100, 200]
    assert steps(tmp_path / "eval.csv") == [100, 100, 200, 200]
