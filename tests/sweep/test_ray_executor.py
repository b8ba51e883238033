"""The executor of Ray, with a module that answers as Ray does: which tasks have ended, and how."""

from __future__ import annotations

import json
import sys
import threading
import types
from pathlib import Path

import pytest

from rl_cli.config.labels import Labels
from rl_cli.core.errors import BadInput
from rl_cli.storage.atomic_files import write_json
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.sweep import ray_executor
from rl_cli.sweep.executor import Wanted
from rl_cli.sweep.ray_executor import RayExecutor
from rl_cli.sweep.task import Task

SETTINGS = {
    "address": None, "num_cpus": 1.0, "num_gpus": 0.0, "memory_gb": 2.0, "resources": {}, "max_retries": 3,
    "runtime_env": {},
}  # fmt: skip

NAMES = (
    "RayError",
    "TaskCancelledError",
    "OutOfMemoryError",
    "WorkerCrashedError",
    "NodeDiedError",
)


class Ray(types.ModuleType):
    """The part of Ray that the executor uses. A reference is the number of a task."""

    def __init__(self, there=None, error=None):
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=type("RayError", (Exception,), {}))
        for name in NAMES[1:]:
            setattr(self.exceptions, name, type(name, (self.exceptions.RayError,), {}))
        self.there, self.error, self.ends, self.count, self.canceled = there, error, {}, 0, []

    def init(self, address, **options):
        self.options = {"address": address, **options}
        if self.error:
            raise self.error

    def cluster_resources(self):
        return self.there

    def remote(self, **options):
        self.task_options = options

        def submit(task):
            self.count += 1
            return self.count - 1

        return lambda function: types.SimpleNamespace(remote=submit)

    def wait(self, references, num_returns=1, timeout=None):
        done = [r for r in references if r in self.ends][:num_returns]
        return done, [r for r in references if r not in done]

    def get(self, reference):
        end = self.ends[reference]
        if isinstance(end, Exception):
            raise end
        return end

    def cancel(self, reference, force):
        self.canceled.append((reference, force))


def task(number):
    path = Path(f"job_{number:04d}.json").absolute()
    path.write_text(json.dumps({"state": "running"}))
    return Task({}, Labels("dqn", "cartpole"), 1, {}, str(path), "r", str(Path.cwd()))


def test_every_end_of_a_task_is_reported(here, monkeypatch):
    monkeypatch.setattr(ray_executor, "SAVE_SECONDS", 0.0)
    ray = Ray()
    executor = RayExecutor(ray, {}, 1, 1)
    for number in range(6):
        executor.start(number, task(number))
    assert executor.wait(0) == []
    assert executor.is_queued(3)
    Path("job_0003.json").write_text(json.dumps({"state": "running", "where": "Ray worker 1 on b"}))
    assert not executor.is_queued(3)
    errors = ray.exceptions
    ray.ends = {
        0: 3,
        1: errors.TaskCancelledError(),
        2: errors.OutOfMemoryError("usage 95%\nmore"),
        3: errors.NodeDiedError("node 1f\nlogs"),
        4: errors.RayError("cannot import"),
    }
    ends = {
        end.number: (end.as_record()["state"], end.code, end.reason) for end in executor.wait(0)
    }
    assert ends == {
        0: ("failed", 3, ""),
        1: ("interrupted", 143, ""),
        2: ("failed", 137, "Ray ended its worker: out of memory"),
        3: ("failed", 137, "Ray lost its worker: node 1f"),
        4: ("failed", 1, "Ray: cannot import"),
    }
    executor.send(5, 2)
    executor.send(0, 2)  # has ended
    assert ray.canceled == [(5, False)]


def test_jobs_limits_the_tasks_and_without_it_ray_does(here):
    executor = RayExecutor(Ray(), {}, 2, 1)
    executor.start(0, task(0))
    assert executor.free() == 1
    assert RayExecutor(Ray(), {}, 1, 1).free() > 1000


def test_own_cluster_has_a_token_in_memory_and_no_statistics(here, monkeypatch):
    import os

    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop("RAY_ADDRESS", None)
    ray = Ray({"CPU": 8.0})
    monkeypatch.setitem(sys.modules, "ray", ray)
    executor = ray_executor.make(SETTINGS | {"num_cpus": 2.0}, Wanted(1, here))
    assert executor.side_by_side == 4  # tasks that share the memory of this machine
    assert (ray.options["address"], ray.options["include_dashboard"]) == ("local", False)
    assert (os.environ["RAY_USAGE_STATS_ENABLED"], os.environ["RAY_AUTH_MODE"]) == ("0", "token")
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert ray.task_options == {
        "num_cpus": 2.0, "num_gpus": 0.0, "max_retries": 3, "resources": {}, "memory": 2_000_000_000
    }  # fmt: skip
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        del os.environ[name]
    ray_executor.make(SETTINGS | {"address": "10.0.0.1:6379"}, Wanted(1, here))
    assert "RAY_AUTH_MODE" not in os.environ  # as that cluster has it
    assert "include_dashboard" not in ray.options


@pytest.mark.parametrize(
    ("ray", "changes", "shown"),
    [
        (None, {}, 'pip install "rl-cli[ray]"'),
        (Ray(error=ConnectionError("no cluster at 10.0.0.1\nmore")), {}, "no cluster at 10.0.0.1"),
        (Ray({"CPU": 2.0}), {"num_gpus": 1.0}, "a job needs 1 GPU, and Ray has 0 in all"),
        (Ray({"CPU": 2.0}), {"num_cpus": 4.0}, "hydra.launcher.num_cpus=4"),
        (Ray({"CPU": 2.0}), {"resources": {"tpu": 1.0}}, "hydra.launcher.resources.tpu=1"),
    ],
)
def test_what_ray_cannot_do_is_bad_input(here, monkeypatch, ray, changes, shown):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(BadInput) as refused:
        ray_executor.make(SETTINGS | changes, Wanted(1, here))
    assert shown in str(refused.value)
    assert len(str(refused.value).splitlines()) == 3


def test_canceled_run_is_waited_for_while_its_process_saves(here, monkeypatch):
    """The end of Ray would kill it."""
    monkeypatch.setattr(ray_executor, "SAVE_SECONDS", 0.0)
    ray = Ray()
    executor = RayExecutor(ray, {}, 1, 1)
    executor.start(0, task(0))
    record = Path("job_0000.json")
    started = {"where": "Ray worker 1 on b", "start": str(here), "run_dir": "r"}
    record.write_text(json.dumps(started | {"state": "running"}))
    ray.ends = {0: ray.exceptions.TaskCancelledError()}
    Path("r").mkdir()
    with FolderLock.take(here / "r"):
        saved = started | {"state": "interrupted"}
        timer = threading.Timer(0.3, write_json, [record, saved])  # at once, as a run does
        timer.start()
        assert [end.code for end in executor.wait(0)] == [143]
        assert json.loads(record.read_text())["state"] == "interrupted"
        timer.join()
