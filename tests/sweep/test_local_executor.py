"""Executors of this machine: their size, exit codes, signals, GPUs, and independence of the jobs."""

import dataclasses
import json
import os
import signal
import sys
import time

import pytest

from rl_cli.config.labels import Labels
from rl_cli.sweep.executor import Ended
from rl_cli.sweep.local_executor import ForkExecutor, SpawnExecutor
from rl_cli.sweep.task import Task

READ_TASK = (
    "import json, os, signal, sys, time; job = json.load(sys.stdin)['config']; "
    "signal.signal(signal.SIGTERM, signal.SIG_DFL); "
)
PLAIN = Task({}, Labels("dqn", "cartpole"), 1, {}, "", folder="", start="")


def task(**config):
    return dataclasses.replace(PLAIN, config=config)


def call(task):
    return task.config["function"]()


def finished(executor, tasks):
    """Exit codes by number of the tasks."""
    waiting, ends = list(enumerate(tasks)), {}
    while waiting or executor.running:
        while waiting and executor.free():
            executor.start(*waiting.pop(0))
        ends |= {end.number: end.code for end in executor.wait(10)}
    return ends


def forked(size, functions, **options):
    executor = ForkExecutor(size, call, **options)
    return finished(executor, [task(function=function) for function in functions])


def spawned(size, code, tasks, **options):
    return finished(SpawnExecutor(size, [sys.executable, "-c", READ_TASK + code], **options), tasks)


def test_forked_jobs_return_exit_codes_by_number():
    assert forked(2, [lambda: 0, lambda: 3, lambda: 2]) == {0: 0, 1: 3, 2: 2}


def test_spawned_jobs_read_json_and_a_killed_one_does_not_stop_the_others():
    code = "sys.exit(job['code']) if job['code'] < 9 else os.kill(os.getpid(), 9)"
    tasks = [task(code=3), task(code=9), task(code=0)]
    assert spawned(1, code, tasks) == {0: 3, 1: 128 + 9, 2: 0}


def test_task_is_the_same_after_json():
    made = dataclasses.replace(task(seed=1), environment={"A": "b"})
    assert Task.of(json.loads(json.dumps(made.plain()))) == made


def test_spawned_job_receives_the_signal_once():
    """Its own process group keeps a terminal's Ctrl-C from reaching it twice."""
    executor = SpawnExecutor(2, [sys.executable, "-c", READ_TASK + "time.sleep(30)"])
    executor.start(4, task())
    assert os.getpgid(executor.running[4]) == executor.running[4]
    assert executor.wait(0.0) == []
    executor.send(4, signal.SIGTERM)
    assert executor.wait(20) == [Ended(4, 128 + 15)]
    executor.send(4, signal.SIGTERM)  # it has ended


def test_forked_job_that_raises_or_is_killed_does_not_stop_the_others(capfd):
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)

    def broken():
        raise RuntimeError("boom")

    assert forked(1, [killed, broken, lambda: 0]) == {0: 128 + 9, 1: 1, 2: 0}
    assert "boom" in capfd.readouterr().err


def test_forked_job_that_cannot_print_exits(monkeypatch):
    class Full:
        def write(self, text):
            raise OSError("no space left")

        def flush(self):
            if os.getpid() != parent:
                raise OSError("no space left")

    parent = os.getpid()
    monkeypatch.setattr("sys.stdout", Full())
    assert forked(1, [lambda: 0, lambda: 5]) == {0: 0, 1: 5}
    assert os.getpid() == parent


def test_at_most_size_jobs_run_at_a_time(tmp_path):
    """Each job returns the number of jobs that ran when it started."""

    def job(name):
        def run():
            (tmp_path / name).touch()
            there = len(list(tmp_path.iterdir()))
            time.sleep(0.05)
            (tmp_path / name).unlink()
            return there

        return run

    assert max(forked(2, [job(str(i)) for i in range(6)]).values()) in (1, 2)


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_each_job_has_the_gpu_that_fewest_jobs_have(tmp_path, monkeypatch, kind):
    """Five jobs, three at a time, on two GPUs: the third shares the first."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")

    def seen():
        time.sleep(0.2)
        return int(os.environ["CUDA_VISIBLE_DEVICES"])

    if kind == "fork":
        codes = forked(3, [seen] * 3, gpus=("4", "5"))
    else:
        code = "time.sleep(0.2); sys.exit(int(os.environ['CUDA_VISIBLE_DEVICES']))"
        codes = spawned(3, code, [task()] * 3, gpus=("4", "5"))
    assert codes == {0: 4, 1: 5, 2: 4}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_output_of_a_job_goes_to_its_file(tmp_path, capfd):
    path = tmp_path / "job.log"

    def talk():
        print("from python")
        os.write(2, b"from c\n")
        return 0

    made = dataclasses.replace(task(function=talk), output=str(path))
    assert finished(ForkExecutor(1, call), [made]) == {0: 0}
    assert sorted(path.read_text().splitlines()) == ["from c", "from python"]
    assert capfd.readouterr() == ("", "")
