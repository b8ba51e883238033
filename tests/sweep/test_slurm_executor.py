"""The executor of Slurm, with the answers of its commands: which tasks have ended, and how."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from rl_cli.config.labels import Labels
from rl_cli.core.errors import BadInput
from rl_cli.sweep import slurm_executor
from rl_cli.sweep.executor import Wanted
from rl_cli.sweep.slurm_executor import SlurmExecutor
from rl_cli.sweep.task import Task

SETTINGS = {
    "name": "rl-cli", "partition": None, "timeout_min": 60, "max_num_timeout": 3, "poll_seconds": 0.0,
    "array_parallelism": None, "cpus_per_task": 1, "additional_parameters": {},
}  # fmt: skip


class Batch:
    """submitit's executor: takes a batch as one array."""

    def __init__(self, error=None):
        self.error, self.tasks = error, []

    def batch(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.error:
            raise self.error

    def submit(self, function, task):
        self.tasks.append(task)
        return types.SimpleNamespace(job_id=f"7_{len(self.tasks) - 1}")


@pytest.fixture
def slurm(here, monkeypatch):
    """An executor whose squeue answers what `slurm.says` holds, by task of array 7; None: an error."""
    monkeypatch.setattr(slurm_executor, "RECORD_SECONDS", 0.0)
    executor = SlurmExecutor(SETTINGS, Wanted(1, here / "sweep"))
    executor.says, executor.commands, executor.errors = (
        {},
        [],
        "slurm_load_jobs error: Unable to contact",
    )

    def run(*words):
        executor.commands.append(words)
        code = 1 if executor.says is None else 0
        out = "".join(f"7_{n} {state}\n" for n, state in (executor.says or {}).items())
        return subprocess.CompletedProcess(words, code, out, executor.errors if code else "")

    monkeypatch.setattr(slurm_executor, "_run", run)
    monkeypatch.setattr(slurm_executor, "_submitit", lambda *_: Batch())
    (here / "sweep").mkdir()
    return executor


def task(number, state="running", code=1):
    path = Path(f"sweep/job_{number:04d}.json").absolute()
    path.write_text(json.dumps({"state": state, "exit_code": code, "reason": "x"}))
    return Task({}, Labels("dqn", "cartpole"), 1, {}, str(path), "r", str(Path.cwd()))


def started(executor, count):
    for number in range(count):
        executor.start(number, task(number))
    executor.says = dict.fromkeys(range(count), "PENDING")
    assert executor.wait(0) == []


def test_tasks_are_one_array_and_end_by_their_records(slurm):
    started(slurm, 3)
    assert Path("sweep/slurm/jobs/job_0002").read_text() == "7_2"
    assert slurm.is_queued(1)
    slurm.says[1] = "RUNNING"
    task(0, "completed", 0), task(1, "interrupted", 143), task(2, "failed", 3)
    assert [(e.number, e.code) for e in slurm.wait(0)] == [(0, 0), (2, 3)]
    assert slurm.wait(0) == []  # the interrupted one runs: it is started again
    assert not slurm.is_queued(1)


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        ("CANCELLED", 143, "canceled in Slurm"),
        ("TIMEOUT", 143, "ended by Slurm's time limit; longer: hydra.launcher.timeout_min"),
        ("OUT_OF_MEMORY", 137, "killed by Slurm: out of memory; more: hydra.launcher.mem_gb"),
        ("NODE_FAIL", 137, "Slurm lost its node"),
        (None, 137, "Slurm does not know its job any more"),
        ("FAILED", 1, "Slurm's job 7_0 ended as FAILED before the run started: no such python"),
    ],
)
def test_job_that_slurm_ended_without_a_record_says_how(slurm, state, code, reason):
    """Seen twice, because a job that is requeued is in another state for a moment."""
    started(slurm, 1)
    log = next(Path("sweep/slurm").glob("2*")) / "7_0_0_log.err"
    log.write_text("srun: error\nno such python\n\n")
    slurm.says = {0: state} if state else {}
    assert slurm.wait(0) == []
    (end,) = slurm.wait(0)
    assert (end.code, end.reason) == (code, reason)
    record = end.as_record()
    assert record["state"] == ("interrupted" if code == 143 else "failed")
    assert record["reason"] == reason


def test_job_whose_processes_were_all_killed_is_resumed_by_another_start(slurm):
    """Exit code above 128; not as one whose run never began."""
    started(slurm, 1)
    path = Path("sweep/job_0000.json")
    path.write_text(json.dumps({"state": "running", "where": "Slurm job 7_0 on n1"}))
    slurm.says = {0: "FAILED"}
    assert slurm.wait(0) == []
    (end,) = slurm.wait(0)
    assert end.code == 137
    assert end.reason.startswith("Slurm's job 7_0 ended as FAILED; see ")


def test_requeued_job_and_a_controller_that_does_not_answer_end_nothing(slurm):
    started(slurm, 1)
    for says in ({0: "NODE_FAIL"}, {0: "PENDING"}, {0: "NODE_FAIL"}, None, None, {0: "RUNNING"}):
        slurm.says = says
        assert slurm.wait(0) == []


def test_another_start_follows_the_jobs_that_slurm_still_has(slurm, here):
    started(slurm, 3)
    for number in (0, 1, 2):
        (here / f"sweep/slurm/jobs/job_000{number}").chmod(0o600)
    (here / "sweep/slurm/jobs/job_0003").write_text("--all")
    (here / "sweep/slurm/jobs/job_0004").symlink_to("/dev/zero")
    again = SlurmExecutor(SETTINGS, Wanted(1, here / "sweep"))
    slurm.says = {0: "RUNNING", 1: "COMPLETED", 2: "PENDING"}
    slurm.commands.clear()
    adopted = [n for n in range(5) if again.adopt(n, here / f"sweep/job_{n:04d}.json")]
    assert adopted == [0, 2]
    assert len(slurm.commands) == 1
    assert again.lines_about_left() == ["slurm:   the others continue; to end them: scancel 7"]


def test_refused_submission_ends_its_tasks_with_the_answer_of_sbatch(slurm, monkeypatch):
    error = RuntimeError(
        "submitit.core.utils.FailedJobError:\nsbatch: error: QOSMaxSubmitJobPerUserLimit"
    )
    monkeypatch.setattr(slurm_executor, "_submitit", lambda *_: Batch(error))
    slurm.start(0, task(0))
    (end,) = slurm.wait(0)
    assert (end.code, end.reason) == (
        1,
        "not submitted: sbatch: error: QOSMaxSubmitJobPerUserLimit",
    )


def test_settings_that_slurm_refuses_are_bad_input(slurm, here, monkeypatch):
    def refusal(wanted=None):
        with pytest.raises(BadInput) as refused:
            slurm_executor.make(SETTINGS | {"partition": "gpuu"}, wanted or Wanted(1, here))
        return str(refused.value)

    monkeypatch.setitem(sys.modules, "submitit", None)
    assert 'pip install "rl-cli[slurm]"' in refusal()
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    monkeypatch.setenv("PATH", str(here))
    assert "login node" in refusal()
    (here / "sbatch").touch(mode=0o755)
    assert "gpus_per_node" in refusal(Wanted(1, here, ("0", "1")))
    script = types.SimpleNamespace(_make_submission_file_text=lambda *_: "#!/bin/sh\n")
    monkeypatch.setattr(
        slurm_executor, "_submitit", lambda *_: types.SimpleNamespace(_executor=script)
    )
    slurm.says, slurm.errors = None, "allocation failure: Invalid partition name specified\n"
    shown = refusal()
    assert "Invalid partition name specified" in shown
    assert "partition=gpuu" in shown
