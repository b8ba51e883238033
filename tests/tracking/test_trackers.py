"""Trackers: what each package receives, rows through the pipe, and failures that cost one line."""

from __future__ import annotations

import json
import os
import sys
from types import SimpleNamespace

import pytest

from rl_cli.tracking.sinks import SinkContext
from rl_cli.tracking.trackers import sink as sinks
from rl_cli.tracking.trackers.process import TRACKERS, serve
from rl_cli.tracking.trackers.sink import TrackerSink

CONFIG = {
    "algo": "ppo",
    "env": "cartpole",
    "seed": 3,
    "algo.gamma": 0.99,
    "env.kwargs": "{}",
    "x": None,
}


class Recorder:
    """Replaces any object of a tracker: records calls of its methods; each returns it or a result."""

    def __init__(self, calls, name="", results=None):
        self._calls, self._name, self._results = calls, name, results or {}
        self.summary, self.info = {}, SimpleNamespace(run_id="mlflow-1")
        self.experiment_id = "7"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Recorder(self._calls, f"{self._name}.{name}".lstrip("."), self._results)

    def __call__(self, *args, **kwargs):
        self._calls.append((self._name, args, kwargs))
        result = self._results.get(self._name, self)
        if isinstance(result, BaseException):
            raise result
        return result


@pytest.fixture
def fake(monkeypatch):
    """Put a recorder in place of the package of a tracker. -> function: name, results -> the calls."""

    def install(name, **results):
        calls = []
        module = Recorder(calls, "", results)
        monkeypatch.setitem(sys.modules, name, module)
        if name == "mlflow":
            entities = SimpleNamespace(
                Param=lambda *a: ("param", *a), Metric=lambda *a: ("metric", *a)
            )
            module.entities = entities
        return calls

    return install


def messages(name, folder, *rest, resumed=False):
    start = {"tracker": name, "project": "p", "name": "n", "folder": str(folder), "config": CONFIG}
    return [json.dumps(m) + "\n" for m in ({**start, "resumed": resumed}, *rest)]


ROWS = [
    {"step": 10, "row": {"train/loss": 0.5}},
    {"step": 20, "row": {"eval/episode_return": 7.0}},
    {"at": 20, "video": "video/evaluation", "path": "/v.mp4"},
]


def serve_all(name, folder, *rest, resumed=False):
    """What the process of a tracker says. After `finish` it must not wait for another line."""
    said = []

    def lines():
        yield from messages(name, folder, *rest, resumed=resumed)
        assert "finish" not in rest[-1]

    serve(lines(), said.append)
    return said


def named(calls, name):
    return [(args, kwargs) for called, args, kwargs in calls if called == name]


def test_wandb_gets_configuration_rows_video_and_end_and_keeps_its_id(tmp_path, fake):
    calls = fake("wandb")
    assert serve_all("wandb", tmp_path, *ROWS, {"finish": "completed"}) == [{"end": True}]
    ((_, init),) = named(calls, "init")
    assert (init["project"], init["name"], init["config"]) == ("p", "n", CONFIG)
    assert "dir" not in init  # wandb makes links, and a run folder with links is not resumed
    logged = [args[0] for args, _ in named(calls, "init.log") or named(calls, "log")]
    assert logged[:2] == [{"step": 10, "train/loss": 0.5}, {"step": 20, "eval/episode_return": 7.0}]
    assert set(logged[2]) == {"step", "video/evaluation"}
    assert named(calls, "Video")[0][0] == ("/v.mp4",)
    assert named(calls, "init.finish") == [((), {"exit_code": 0})]
    again = fake("wandb")
    rest = [ROWS[1], {"step": 30, "row": {"train/loss": 0.25}}, {"finish": "failed"}]
    assert serve_all("wandb", tmp_path, *rest, resumed=True) == [{"end": True}]
    ((_, resumed),) = named(again, "init")
    assert (resumed["id"], resumed["resume"]) == (init["id"], "allow")
    sent = [args[0] for args, _ in named(again, "init.log")]
    assert sent == [{"step": 30, "train/loss": 0.25}]  # the row of step 20 was sent before
    assert named(again, "init.finish") == [((), {"exit_code": 1})]
    new = fake("wandb")
    serve_all("wandb", tmp_path, {"finish": "completed"})
    assert named(new, "init")[0][1]["id"] != init["id"]


def test_evaluation_that_an_interruption_cut_off_from_its_row_is_sent_later(tmp_path, fake):
    calls = fake("wandb")
    row, evaluation = (
        {"step": 200, "row": {"train/loss": 0.5}},
        {"step": 200, "row": {"eval/episode_return": 7.0}, "evaluation": True},
    )
    serve_all("wandb", tmp_path, row, {"finish": "interrupted"})
    again = fake("wandb")
    serve_all("wandb", tmp_path, row, evaluation, {"finish": "completed"}, resumed=True)
    sent = [args[0] for args, _ in named(again, "init.log")]
    assert sent == [{"step": 200, "eval/episode_return": 7.0}]
    assert len(named(calls, "init.log")) == 1


def test_trackio_continues_under_its_name(tmp_path, fake):
    calls = fake("trackio")
    assert serve_all("trackio", tmp_path, *ROWS, {"finish": "completed"}) == [{"end": True}]
    ((_, init),) = named(calls, "init")
    assert (init["project"], init["name"][:2], init["config"]) == ("p", "n_", CONFIG)
    assert named(calls, "init.log")[:2] == [
        (({"train/loss": 0.5},), {"step": 10}),
        (({"eval/episode_return": 7.0},), {"step": 20}),
    ]
    assert named(calls, "init.log")[2][1] == {"step": 20}
    assert len(named(calls, "init.finish")) == 1
    again = fake("trackio")
    serve_all("trackio", tmp_path, {"finish": "completed"}, resumed=True)
    assert named(again, "init")[0][1]["name"] == init["name"]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ([{"finish": "completed"}], "FINISHED"),
        ([{"finish": "interrupted"}], "KILLED"),
        ([{"finish": "failed"}], "FAILED"),
        ([], "FAILED"),  # the run was killed
    ],
)
def test_mlflow_gets_parameters_metrics_artifact_and_state(
    tmp_path, fake, monkeypatch, end, status
):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    calls = fake("mlflow")
    serve_all("mlflow", tmp_path, *ROWS, *end)
    assert named(calls, "set_experiment") == [(("p",), {})]
    assert named(calls, "MlflowClient.create_run") == [(("7",), {"run_name": "n"})]
    batches = named(calls, "MlflowClient.log_batch")
    assert batches[0][1]["params"] == [("param", k, str(v)) for k, v in CONFIG.items()]
    metrics = [batch["metrics"][0] for _, batch in batches[1:]]
    assert [(m[1], m[2], m[4]) for m in metrics] == [
        ("train/loss", 0.5, 10),
        ("eval/episode_return", 7.0, 20),
    ]
    assert named(calls, "MlflowClient.log_artifact") == [(("mlflow-1", "/v.mp4", "videos"), {})]
    assert named(calls, "MlflowClient.set_terminated") == [(("mlflow-1", status), {})]
    again = fake("mlflow")
    serve_all("mlflow", tmp_path, {"finish": "completed"}, resumed=True)
    assert named(again, "MlflowClient.update_run") == [(("mlflow-1",), {"status": "RUNNING"})]
    assert named(again, "MlflowClient.create_run") == []


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("content", ["", "[]", '{"id": 3}', '{"id": "../x", "step": 1}', "\0"])
def test_record_of_an_earlier_process_that_is_damaged_is_not_used(tmp_path, fake, name, content):
    calls = fake(name)
    (tmp_path / "trackers").mkdir()
    (tmp_path / f"trackers/{name}.json").write_text(content)
    serve_all(name, tmp_path, {"finish": "completed"}, resumed=True)
    started = named(calls, "MlflowClient.create_run" if name == "mlflow" else "init")
    assert len(started) == 1
    assert ".." not in str(started)


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize(
    "error",
    [ConnectionError("no network\nsecond line"), OSError(28, "No space left"), SystemExit(3)],
)
@pytest.mark.parametrize("where", ["start", "log"])
def test_failure_of_a_tracker_is_one_line(tmp_path, fake, name, error, where):
    failing = {
        "wandb": {"start": "init", "log": "init.log"},
        "trackio": {"start": "init", "log": "init.log"},
        "mlflow": {"start": "MlflowClient.create_run", "log": "MlflowClient.log_batch"},
    }
    fake(name, **{failing[name][where]: error})
    (said,) = serve_all(name, tmp_path, *ROWS, {"finish": "completed"})
    assert said["note"].startswith(type(error).__name__)
    assert "\n" not in said["note"]


def test_missing_package_is_named_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    (said,) = serve_all("mlflow", tmp_path, *ROWS)
    assert said["note"] == "mlflow is not installed: pip install 'rl-cli[mlflow]'"


STUB = """
import json, sys
start = json.loads(sys.stdin.readline())
with open("received", "a") as file:
    for line in sys.stdin:
        file.write(line)
        if "finish" in line:
            break
print(json.dumps({"end": True}), flush=True)
"""


@pytest.fixture
def stub(here, monkeypatch):
    """A sink whose process runs `code`. -> the sink, and the lines for the user."""

    def make(code):
        (here / "stub.py").write_text(code)
        monkeypatch.setattr(sinks, "COMMAND", ("-I", "-S", str(here / "stub.py")))
        notes = []
        return TrackerSink("wandb", "p", SinkContext(here, CONFIG, None, (), notes.append)), notes

    return make


def test_rows_reach_the_process_in_order_with_complete_videos(here, stub):
    sink, notes = stub(STUB)
    (here / "videos").mkdir()
    for name in ("step_000000010_episode_0.mp4", ".part.mp4"):
        (here / "videos" / name).touch()
    for step in range(3000):  # more than a pipe holds
        sink.write_row(step, {"train/loss": step / 7})
    sink.write_evaluation(3000, [], 0, {"eval/episode_return": 1.0})
    (here / "videos/episode_000004.mp4").touch()
    (here / "status.json").write_text('{"state": "completed"}')
    sink.close()
    sink.close()
    found = [json.loads(line) for line in (here / "received").read_text().splitlines()]
    assert [m["row"] for m in found[:3000]] == [{"train/loss": step / 7} for step in range(3000)]
    video = str(here / "videos/step_000000010_episode_0.mp4")
    assert found[3001] == {"at": 10, "video": "video/evaluation", "path": video}
    assert found[3002]["path"].endswith("episode_000004.mp4")
    assert (found[3002]["video"], found[3002]["at"]) == ("video/training", 3000)
    assert found[3003] == {"finish": "completed"}
    assert notes == []


def test_process_that_ends_hangs_or_takes_nothing_prints_one_line_and_does_not_block(
    here, stub, monkeypatch
):
    monkeypatch.setattr(sinks, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(sinks, "MAX_PENDING", 1 << 17)
    sink, notes = stub("raise SystemExit")
    sink.process.wait()
    for step in range(3):
        sink.write_row(step, {"a": 1.0})
    sink.close()
    assert notes == ["no more rows to wandb: its process ended; metrics.csv has them"]
    sink, notes = stub("import time; time.sleep(60)")
    process = sink.process
    sink.write_row(0, {"a": 1.0})
    sink.close()
    assert "has not finished within 0 s" in notes[0]
    assert len(notes) == 1
    sink, notes = stub("import time; time.sleep(60)")
    for step in range(8_000):
        sink.write_row(step, {"train/loss": 1.0})
    assert notes == ["no more rows to wandb: it takes none; metrics.csv has them"]
    sink.close()
    for ended in (process,):
        with pytest.raises(ProcessLookupError):
            os.kill(ended.pid, 0)
    monkeypatch.setattr(sinks.sys, "executable", str(here / "nothing"))
    sink, notes = stub(STUB)
    sink.write_row(0, {"a": 1.0})
    sink.close()
    assert notes == ["wandb gets no rows: No such file or directory"]
