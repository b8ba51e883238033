"""Logger: rows of metrics.csv and eval.csv, TensorBoard files, and their continuation after a resume."""

from __future__ import annotations

import csv
import errno
import json

import pytest
import safetensors.numpy
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rl_cli.core.errors import NonFinite
from rl_cli.core.types import Episode
from rl_cli.storage.serialization import pack, unpack
from rl_cli.tracking import logger as logger_module
from rl_cli.tracking.csv_table import CsvSink
from rl_cli.tracking.logger import Logger, check_finite
from rl_cli.tracking.sinks import SinkContext
from rl_cli.tracking.statistics import summarize
from rl_cli.tracking.tensorboard import TensorBoardSink

TIMES = {"time/steps_per_second": 1000.0}


def write(log, step, times):
    """Write a row and check it, as `MetricsCallback` does."""
    row = log.row(times)
    log.write(step, row)
    check_finite(row)
    return row


def logger(folder, tensorboard=False, resumed_at=None, **options):
    context = SinkContext(folder, {"seed": 3}, resumed_at)
    sinks = [CsvSink(context), *([TensorBoardSink(context)] if tensorboard else [])]
    return Logger(sinks, **options)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps(path):
    return [int(row["step"]) for row in rows(path)]


def metrics(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def curves(folder):
    """Tag -> [(step, value)], as TensorBoard shows it, without purged events."""
    accumulator = EventAccumulator(str(folder / "tb")).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_row_contains_means_since_the_last_row(tmp_path):
    log = logger(tmp_path)
    log.add(metrics(loss=1.0, kl=0.5))
    log.add(metrics(loss=3.0))
    log.add_episodes([Episode(10.0, 4), Episode(-4.0, 6)])
    row = write(log, 100, TIMES)
    assert row == {
        "rollout/episodes": 2,
        "rollout/episode_return": 3.0,
        "rollout/episode_return_max": 10.0,
        "rollout/episode_length": 5.0,
        "rollout/running_return": 3.0,
        "train/loss": 2.0,
        "train/kl": 0.5,
        "time/steps_per_second": 1000.0,
    }
    log.add(metrics(loss=8.0))
    assert write(log, 200, TIMES) == {
        "rollout/episodes": 2,
        "rollout/running_return": 3.0,
        "train/loss": 8.0,
        **TIMES,
    }
    assert (tmp_path / "metrics.csv").read_text() == (
        "step,rollout/episode_return,rollout/episode_length,rollout/episodes,"
        "rollout/episode_return_max,rollout/running_return,"
        "train/loss,train/kl,time/steps_per_second\n"
        "100,3.0,5.0,2,10.0,3.0,2.0,0.5,1000.0\n"
        "200,,,2,,3.0,8.0,,1000.0\n"
    )


def test_episodes_are_counted_over_the_run_and_averaged_since_the_last_row(tmp_path):
    log = logger(tmp_path)
    for step, returns in ((100, [1.0, 3.0]), (200, []), (300, [10.0])):
        for value in returns:
            log.add_episodes([Episode(value, 1)])
        write(log, step, TIMES)
    written = rows(tmp_path / "metrics.csv")
    assert [row["rollout/episodes"] for row in written] == ["2", "2", "3"]
    assert [row["rollout/episode_return"] for row in written] == ["2.0", "", "10.0"]


def test_running_return_is_over_the_window_and_success_rate_since_the_last_row(tmp_path):
    log = logger(tmp_path, success_at=3.0, window=2)
    found = []
    for step, returns in ((100, [4.0]), (200, [1.0, 3.0, 2.0]), (300, [])):
        log.add_episodes([Episode(value, 1) for value in returns])
        row = write(log, step, TIMES)
        found.append((row.get("rollout/running_return"), row.get("rollout/success_rate")))
    assert found == [(4.0, 1.0), (2.5, 1 / 3), (2.5, None)]


def test_state_of_format_1_continues_its_episode_count(tmp_path):
    log = logger(tmp_path)
    log.load_state_dict({"gathered": {}, "episodes": [], "episodes_total": 40})
    log.add_episodes([Episode(2.0, 3), Episode(4.0, 5)])
    assert log.row({})["rollout/episodes"] == 42
    summary = log.tally.summary()
    assert (summary["episodes"], summary["mean"], summary["mean_length"]) == (2, 3.0, 4.0)


def test_metric_that_appears_later_is_empty_in_earlier_rows(tmp_path):
    log = logger(tmp_path)
    write(log, 100, TIMES)
    log.add(metrics(loss=0.25))
    write(log, 200, TIMES)
    assert [row["train/loss"] for row in rows(tmp_path / "metrics.csv")] == ["", "0.25"]


def test_means_are_taken_in_double_precision(tmp_path):
    """In float32, 2^24 + 1 is 2^24."""
    log = logger(tmp_path)
    for value in (2.0**24, 1.0):
        log.add(metrics(loss=value))
    assert write(log, 100, {})["train/loss"] == (2**24 + 1) / 2


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_non_finite_loss_raises_with_its_name_after_its_row_is_written(tmp_path, value):
    log = logger(tmp_path)
    log.add(metrics(q_mean=1.0, loss=float(value)))
    with pytest.raises(NonFinite) as caught:
        write(log, 200, TIMES)
    assert caught.value.what == f"train/loss is {value}"
    assert caught.value.where == "train/loss"  # the run adds the step
    assert "algo.learning_rate" in caught.value.fix
    assert [row["train/loss"] for row in rows(tmp_path / "metrics.csv")] == [value]


def test_one_nan_among_finite_values_raises(tmp_path):
    log = logger(tmp_path)
    for value in (1.0, float("nan"), 1.0):
        log.add(metrics(loss=value))
    with pytest.raises(NonFinite, match="train/loss is nan"):
        write(log, 100, TIMES)


def test_many_values_between_two_rows_are_joined_into_one_tensor(tmp_path, monkeypatch):
    """Values 0 to 6 are joined at the third and at every second one after it; all are saved."""
    monkeypatch.setattr(logger_module, "PACKED_FROM", 3)
    log = logger(tmp_path)
    for value in range(7):
        log.add(metrics(loss=float(value)))
    assert len(log.collected["loss"]) < 3
    assert log.state_dict()["gathered"]["loss"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert log.row({})["train/loss"] == 3.0


def test_eval_csv_has_a_row_with_the_seed_of_each_episode(tmp_path):
    log = logger(tmp_path)
    episodes = [Episode(9.5, 10), Episode(-1.0, 3)]
    log.write_evaluation(400, episodes, 10_000, summarize(episodes))
    assert (tmp_path / "eval.csv").read_text() == (
        "step,episode,seed,episode_return,episode_length\n400,0,10000,9.5,10\n400,1,10001,-1.0,3\n"
    )


def test_collected_metrics_of_a_checkpoint_are_in_the_next_row(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, resumed = logger(tmp_path / "a"), logger(tmp_path / "b")
    whole.add_episodes([Episode(1.0, 1)])
    write(whole, 100, TIMES)
    whole.add(metrics(loss=1.0, kl=4.0))
    whole.add(metrics(loss=2.0))
    whole.add_episodes([Episode(5.0, 7)])
    tree, arrays, _ = pack(whole.state_dict())
    tree, data = json.dumps(tree), safetensors.numpy.save(arrays)
    resumed.load_state_dict(unpack(json.loads(tree), safetensors.numpy.load(data), {}.__getitem__))
    assert [len(v) for v in resumed.collected.values()] == [1, 1]  # one tensor per metric
    for log in (whole, resumed):
        log.add(metrics(loss=6.0))
        log.add_episodes([Episode(7.0, 9)])
    expected = {
        "rollout/episodes": 3,
        "rollout/episode_return": 6.0,
        "rollout/episode_return_max": 7.0,
        "rollout/episode_length": 8.0,
        "rollout/running_return": 13 / 3,  # the window contains the episode before the last row
        "train/loss": 3.0,
        "train/kl": 4.0,
    }
    assert write(resumed, 200, {}) == write(whole, 200, {}) == expected


def test_no_event_files_without_the_tensorboard_sink(tmp_path):
    log = logger(tmp_path)
    write(log, 100, TIMES)
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["eval.csv", "metrics.csv"]


# TensorBoard


def test_tensorboard_shows_rows_and_evaluations(tmp_path):
    log = logger(tmp_path, tensorboard=True)
    for step, loss in ((100, 0.5), (200, 0.25)):
        log.add(metrics(loss=loss))
        write(log, step, TIMES)
    episodes = [Episode(9.0, 10), Episode(-1.0, 4)]
    log.write_evaluation(200, episodes, 0, summarize(episodes, success_at=5.0), best=6.5)
    log.close()
    assert curves(tmp_path) == {
        "rollout/episodes": [(100, 0), (200, 0)],
        "train/loss": [(100, 0.5), (200, 0.25)],
        "time/steps_per_second": [(100, 1000), (200, 1000)],
        "eval/episode_return": [(200, 4.0)],
        "eval/episode_length": [(200, 7.0)],
        "eval/success_rate": [(200, 0.5)],
        "eval/best_return": [(200, 6.5)],
    }


def test_tensorboard_shows_no_success_rate_without_a_threshold(tmp_path):
    log = logger(tmp_path, tensorboard=True)
    log.write_evaluation(200, [Episode(1.0, 1)], 0, summarize([Episode(1.0, 1)]))
    log.close()
    assert set(curves(tmp_path)) == {"eval/episode_return", "eval/episode_length"}


# Resume


def write_steps(log, *steps, loss):
    """Write a row and an evaluation at each step, and close the logger."""
    for step in steps:
        log.add(metrics(loss=loss))
        write(log, step, TIMES)
        log.write_evaluation(step, [Episode(loss, 1)], 0, summarize([Episode(loss, 1)]))
    log.close()


def test_resumed_run_writes_later_rows_again_and_no_row_twice(tmp_path):
    write_steps(logger(tmp_path), 100, 200, 300, loss=1.0)
    write_steps(logger(tmp_path, resumed_at=200), 300, 400, loss=2.0)
    assert steps(tmp_path / "metrics.csv") == [100, 200, 300, 400]
    assert steps(tmp_path / "eval.csv") == [100, 200, 300, 400]
    losses = [row["train/loss"] for row in rows(tmp_path / "metrics.csv")]
    assert losses == ["1.0", "1.0", "2.0", "2.0"]
    returns = [row["episode_return"] for row in rows(tmp_path / "eval.csv")]
    assert returns == ["1.0", "1.0", "2.0", "2.0"]


def test_tensorboard_hides_events_that_the_resumed_run_writes_again(tmp_path):
    write_steps(logger(tmp_path, tensorboard=True), 100, 200, 300, loss=1.0)
    resumed = logger(tmp_path, tensorboard=True, resumed_at=200)
    write_steps(resumed, 250, 300, 400, loss=2.0)
    shown = curves(tmp_path)
    for tag in ("train/loss", "eval/episode_return"):
        assert shown[tag] == [(100, 1.0), (200, 1.0), (250, 2.0), (300, 2.0), (400, 2.0)]


def test_resume_at_the_last_row_keeps_all_rows(tmp_path):
    write_steps(logger(tmp_path), 100, 200, loss=1.0)
    before = [(tmp_path / name).read_bytes() for name in ("metrics.csv", "eval.csv")]
    logger(tmp_path, resumed_at=200)
    assert [(tmp_path / name).read_bytes() for name in ("metrics.csv", "eval.csv")] == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("where", ["_AsyncWriterThread._run", "EventFileWriter.__init__"])
def test_tensorboard_that_fails_costs_a_line(tmp_path, monkeypatch, where):
    """Its thread ends on a full disk; or its files cannot be made."""

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"tensorboard.summary.writer.event_file_writer.{where}", fails)
    notes = []
    context = SinkContext(tmp_path, {"seed": 3}, None, (), notes.append)
    log = Logger([CsvSink(context), TensorBoardSink(context)])
    for step in (100, 200, 300):
        write(log, step, {"time/elapsed": 1.0})
        log.flush()
    log.close()
    (note,) = notes
    assert note.startswith("no more TensorBoard events: disk full (No space left on device)")
    assert steps(tmp_path / "metrics.csv") == [100, 200, 300]
