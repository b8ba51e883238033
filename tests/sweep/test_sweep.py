"""The driver of a sweep, with an executor that runs nothing: order, retries, signals, records."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from rl_cli.config.labels import Labels
from rl_cli.core.errors import StorageError
from rl_cli.sweep import sweep as module
from rl_cli.sweep.executor import Ended, Executor
from rl_cli.sweep.job import Job, name_all
from rl_cli.sweep.sweep import Sweep
from rl_cli.sweep.view import PlainView, QuietView


class Script(Executor):
    """Ends each attempt of a job as specified: a code, or a record that the job wrote.

    Args:
        ends: number -> the end of each attempt.

    """

    def __init__(self, ends, size=2):
        self.ends, self.size = ends, size
        self.running, self.tasks, self.sent = [], [], []

    def free(self):
        return self.size - len(self.running)

    def start(self, number, task):
        self.tasks.append((number, task))
        self.running.append(number)
        end = self.ends[number][0]
        if isinstance(end, OSError):
            self.running.remove(number)
            self.ends[number].pop(0)
            raise end

    def wait(self, seconds):
        number = self.running.pop(0)
        end = self.ends[number].pop(0)
        task = next(task for n, task in reversed(self.tasks) if n == number)
        if callable(end):
            end = end(task)
        if isinstance(end, dict):
            Path(task.path).write_text(json.dumps(task.record | end))
            end = end["exit_code"]
        return [Ended(number, end)]

    def send(self, number, signum):
        self.sent.append((number, signum))


DONE = {"exit_code": 0, "state": "completed", "reason": "budget", "eval_return": 7.5}


def broken(task):
    """A job that failed after it had made its folder."""
    Path(task.folder).mkdir(parents=True, exist_ok=True)
    (Path(task.folder) / "config.yaml").touch()
    return {"exit_code": 1, "state": "failed", "reason": "RuntimeError: no"}


def job(number):
    cfg = SimpleNamespace(seed=number)
    words = ["env=cartpole", f"seed={number}"]
    return Job(number, cfg, {"seed": number}, Labels("dqn", "cartpole"), words, [f"seed={number}"])


def records(folder="sweep"):
    return {p.stem: json.loads(p.read_text()) for p in sorted(Path(folder).glob("job_*.json"))}


@pytest.fixture
def run(here):
    Path("sweep").mkdir()

    def go(ends, retries=0, view=None, size=2):
        executor = Script({n: list(attempts) for n, attempts in ends.items()}, size)
        sweep = Sweep(Path("sweep"), executor, view or QuietView(), retries)
        sweep.run([job(n) for n in ends])
        return sweep, executor

    return go


def test_failed_job_is_started_again_from_its_folder_until_retries_are_spent(run):
    sweep, executor = run({0: [broken, broken, DONE], 1: [DONE], 2: [broken] * 3}, retries=2)
    assert [n for n, _ in executor.tasks].count(0) == 3
    first, *more = (task for n, task in executor.tasks if n == 0)
    assert {t.config["run_dir"] for t in more} == {first.config["run_dir"]}
    assert {t.config["resume"] for t in more} == {"auto"}
    assert {n: s.state for n, s in sweep.states.items()} == {
        0: "completed",
        1: "completed",
        2: "failed",
    }
    assert len(records()["job_0000"]["earlier"]) == 2
    assert records()["job_0002"]["exit_code"] == 1
    assert sweep.exit_code == 0


@pytest.mark.parametrize("code", [2, 3])
def test_job_that_would_fail_again_in_the_same_way_is_not_repeated(run, code):
    _, executor = run({0: [{"exit_code": code, "state": "failed", "reason": "no"}]}, retries=5)
    assert len(executor.tasks) == 1


def test_job_that_cannot_be_started_or_ends_unseen_does_not_affect_other_jobs(run):
    ends = {0: [OSError("no more processes")], 1: [137], 2: [143], 3: [0], 4: [DONE]}
    sweep, _ = run(ends)
    found = records()
    assert [found[f"job_000{n}"]["state"] for n in range(5)] == [
        *("failed", "failed", "interrupted", "failed", "completed")
    ]
    assert "no more processes" in found["job_0000"]["reason"]
    assert "SIGKILL" in found["job_0001"]["reason"]
    assert found["job_0003"]["exit_code"] == 1  # it ended, but wrote no record
    assert sweep.exit_code == 0  # a signal to one job does not end the sweep


def test_signal_is_sent_on_once_and_no_job_is_started_after_it(run):
    def interrupted(task):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"exit_code": 143, "state": "interrupted", "reason": "SIGTERM"}

    sweep, executor = run({0: [interrupted], 1: [143], 2: [DONE]}, retries=3)
    assert executor.sent == [(1, signal.SIGTERM)]
    assert [n for n, _ in executor.tasks] == [0, 1]
    assert records()["job_0002"]["state"] == "waiting"
    assert sweep.exit_code == 143
    sweep, executor = run({0: [DONE], 1: [DONE], 2: [DONE]})
    assert [n for n, _ in executor.tasks] == [0, 1, 2]
    assert "waiting" not in str(records())


def test_interrupted_job_keeps_its_run_while_it_waits(run):
    def stopped(task):
        broken(task)
        return {"exit_code": 143, "state": "interrupted", "reason": "SIGTERM"}

    run({0: [stopped]})
    folder = records()["job_0000"]["run_dir"]
    executor = Script({0: [DONE]})
    sweep = Sweep(Path("sweep"), executor, QuietView())
    sweep.add(job(0))
    assert records()["job_0000"]["run_dir"] == folder  # the sweep may be killed now
    sweep.advance(0)
    assert executor.tasks[0][1].folder == folder


@pytest.mark.parametrize("known", ["f7ead2190eaea1b7", "79a708bb9ac8527c"])
def test_complete_job_is_not_repeated_in_another_form_of_its_numbers(here, known):
    """Records of the versions before hold the first hash, of {"gamma": 1.0, "sizes": [64, 64.0]} as it is."""
    for folder in ("sweep", "r"):
        Path(folder).mkdir()
    Path("r/config.yaml").touch()
    Path("r/status.json").write_text('{"state": "completed"}')
    record = {**DONE, "overrides": [], "labels": ["dqn", "cartpole"], "config": known, "seed": 0}
    record |= {"run_dir": "r", "step": 300, "seconds": 1.0, "job": 0}
    Path("sweep/job_0000.json").write_text(json.dumps(record))
    config = {"algo": {"gamma": 1.0, "sizes": [64, 64.0]}, "total_timesteps": 300}
    executor = Script({0: [DONE]})
    sweep = Sweep(Path("sweep"), executor, QuietView())
    sweep.run([dataclasses.replace(job(0), config=config)])
    assert executor.tasks == []
    other = {**config, "total_timesteps": 301}
    assert dataclasses.replace(job(0), config=other).digest() != "79a708bb9ac8527c"


def test_record_that_cannot_be_written_ends_nothing(run, monkeypatch, capsys):
    def full(path, value, synced):
        raise StorageError("no space left", str(path))

    monkeypatch.setattr(module, "write_json", full)
    sweep, _ = run({0: [1], 1: [137]})
    assert [s.record["exit_code"] for s in sweep.states.values()] == [1, 137]
    assert "no space left" in capsys.readouterr().err


def test_stopped_job_is_not_repeated_and_a_waiting_one_not_started(here):
    Path("sweep").mkdir()
    executor = Script(
        {0: [{"exit_code": 143, "state": "interrupted", "reason": "SIGTERM"}]}, size=1
    )
    sweep = Sweep(Path("sweep"), executor, QuietView(), retries=3)
    sweep.add(job(0))
    sweep.add(job(1))
    executor.running.append(99)  # full, so that nothing ends yet
    executor.size = 2
    executor.ends[99] = [0]
    sweep._start(sweep.waiting.popleft())
    sweep.stop(0)
    sweep.stop(1)
    assert executor.sent == [(0, signal.SIGTERM)]
    executor.running.remove(99)
    assert [s.number for s in sweep.advance(0)] == [0]
    assert not sweep.is_busy


def test_lines_name_what_is_particular_to_a_job(run, capsys):
    def talks(task):
        Path(task.output).write_text("a warning\nand \x1b[2Jmore")
        return DONE

    run({0: [talks], 1: [broken, DONE]}, retries=1, view=PlainView())
    out, err = capsys.readouterr()
    assert err.splitlines() == ["[0] a warning", "[0] and \\x1b[2Jmore"]
    lines = [line for line in out.splitlines() if line.startswith("[")]
    assert "[0] done  seed=0  return 7.500  0:00" in lines
    assert "[1] failed  seed=1  RuntimeError: no" in lines
    assert "[1] started  seed=1  attempt 2" in lines
    assert not [line for line in lines if "cartpole" in line]


def test_jobs_are_named_by_the_words_that_differ():
    jobs = [job(0), job(1)]
    assert name_all(jobs, ["env=cartpole"]) == ["env=cartpole"]
    assert [j.name for j in jobs] == ["seed=0", "seed=1"]
    one = dataclasses.replace(job(0), overrides=["env=cartpole", "algo.gamma=0.9"])
    assert name_all([one], ["env=cartpole", "algo.gamma=interval(0.9,1)"]) == ["env=cartpole"]
    assert one.name == "algo.gamma=0.9"


class Scheduler(Script):
    """Its tasks go on when the sweep ends."""

    outlives = True

    def __init__(self, ends, known=()):
        super().__init__(ends)
        self.known = set(known)

    def adopt(self, number, path):
        if number in self.known:
            self.running.append(number)
            self.tasks.append((number, SimpleNamespace(path=path, record={})))
        return number in self.known

    def lines_about_left(self):
        return [f"{len(self.running)} go on"]


def test_signal_leaves_the_jobs_of_a_scheduler_and_another_start_follows_them(here):
    """Two jobs were left, one of which the scheduler has lost meanwhile: it alone is started again."""
    Path("sweep").mkdir()

    def stopped(task):
        os.kill(os.getpid(), signal.SIGINT)
        return DONE

    first = Scheduler({0: [stopped], 1: [DONE], 2: [DONE]})
    sweep = Sweep(Path("sweep"), first, QuietView())
    sweep.run([job(n) for n in (0, 1, 2)])
    assert (sweep.exit_code, sweep.left, first.sent) == (130, ["1 go on"], [])
    assert [r["state"] for r in records().values()] == ["completed", "running", "waiting"]
    Path("sweep/job_0000.json").unlink()
    second = Scheduler({0: [DONE], 1: [DONE], 2: [DONE]}, known=[1])
    again = Sweep(Path("sweep"), second, QuietView())
    again.run([job(n) for n in (0, 1, 2)])
    assert [n for n, task in second.tasks if isinstance(task, SimpleNamespace)] == [1]
    assert [r["state"] for r in records().values()] == ["completed"] * 3
    assert again.exit_code == 0


def test_disk_is_not_waited_for_while_jobs_are_queued_but_when_one_starts(here, monkeypatch):
    """10,000 jobs would wait minutes for it. A power failure may leave an empty record, which is replaced."""
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(handle), sync(handle)))
    Path("sweep").mkdir()
    Path("sweep/job_0001.json").touch()
    sweep = Sweep(Path("sweep"), Script({n: [DONE] for n in range(40)}, size=1), QuietView())
    with sweep:
        for number in range(40):
            sweep.add(job(number))
        assert synced == []
        assert [r["seed"] for r in records().values()] == list(range(40))
        assert {r["state"] for r in records().values()} == {"waiting"}
        sweep.advance(0.0)
        assert len(synced) == 2  # the record of the job that started, and its name in the folder
