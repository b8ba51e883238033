"""One job of a sweep: every way in which its run ends becomes a record."""

from __future__ import annotations

import json

import pytest

from rl_cli import algos
from rl_cli.config.labels import Labels
from rl_cli.core import memory, processors
from rl_cli.core.errors import NonFinite
from rl_cli.sweep import run_job
from rl_cli.training import experiment


@pytest.fixture
def job(here, monkeypatch):
    """Run a job whose training ends by an exception. -> exit code and record."""
    monkeypatch.setattr(algos, "build_run_config", lambda values: values)
    monkeypatch.setattr(memory, "share_among", lambda jobs: None)

    def run(error):
        def train(*_):
            raise error

        monkeypatch.setattr(experiment, "train", train)
        record = {"seed": 3, "run_dir": "r"}
        labels, path = Labels("dqn", "cartpole"), str(here / "job.json")
        task = run_job.Task({}, labels, 1, record, path, folder="r", start=str(here))
        return run_job.run(task), json.loads((here / "job.json").read_text())

    (here / "r").mkdir()
    return run


@pytest.mark.parametrize(
    ("error", "code", "state", "reason"),
    [
        (NonFinite("train/loss is nan", "step=3", "less"), 3, "failed", "train/loss is nan"),
        (KeyboardInterrupt(), 130, "interrupted", "SIGINT"),
        (SystemExit(0), 1, "failed", "SystemExit: 0"),
        (ZeroDivisionError("division by zero"), 1, "failed", "ZeroDivisionError: division by zero"),
    ],
)
def test_every_end_of_a_run_becomes_a_record(job, capfd, error, code, state, reason):
    """A job whose record is `interrupted` resumes from its last checkpoint at the next start."""
    exit_code, record = job(error)
    assert exit_code == record["exit_code"] == code
    assert (record["state"], record["reason"]) == (state, reason)
    assert (record["seed"], record["run_dir"]) == (3, "r")
    assert ("Traceback" in capfd.readouterr().err) == isinstance(error, ZeroDivisionError)


def test_threads_auto_is_the_share_of_a_job_or_what_its_run_had(here, monkeypatch):
    """Deterministic: processors divided by the jobs at a time; a resumed run keeps its number."""
    monkeypatch.setattr(processors, "available", lambda: 8)
    labels, path = Labels("dqn", "cartpole"), str(here / "job.json")

    def threads(value, concurrent, folder="none"):
        config = {"threads": value}
        task = run_job.Task(config, labels, concurrent, {}, path, folder=folder, start=str(here))
        return run_job._with_threads(task)["threads"]

    assert [threads("auto", n) for n in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]
    assert threads(3, 4) == 3
    (here / "r").mkdir()
    assert threads("auto", 4, "r") == 2
    (here / "r/config.yaml").write_text("format: 1\nthreads: 5\nalgo: {name: dqn}\n")
    assert threads("auto", 4, "r") == 5
    assert processors.number_of("auto") == 8
