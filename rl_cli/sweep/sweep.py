"""Run the jobs of a sweep, each in its own process, with a record per job.

sweep/job_0003.json   overrides of the job, run folder, exit code and reason

A sweep started again in the same folder skips completed jobs and resumes interrupted ones. Jobs are
identified by their configuration, not by their number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rl_cli import algos
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.core import devices, processes, terminal
from rl_cli.core.errors import BadInput
from rl_cli.storage import run_folder
from rl_cli.storage.atomic_files import write_json
from rl_cli.sweep import records, run_job
from rl_cli.sweep.process_pool import ForkPool, Pool, SpawnPool
from rl_cli.sweep.records import Record
from rl_cli.training.resume import HOW

STORAGE = 4
"""Exit code of a run that could not write its files."""

KILLED = 128 + 9
"""Exit code of a process that SIGKILL ended; Windows has no name for the signal."""


@dataclasses.dataclass
class Job:
    """One combination of a sweep."""

    number: int
    cfg: RunConfig
    config: dict[str, Any]  # the same as composed, plain values
    labels: Labels
    overrides: list[str]
    name: str  # the overrides that differ between jobs

    @classmethod
    def of(
        cls,
        number: int,
        config: dict[str, Any],
        labels: Labels,
        overrides: list[str],
        name: str,
    ) -> Job:
        """A job with its typed configuration.

        Raises:
            BadInput: what can be refused without making an env.

        """
        try:
            cfg = algos.build_run_config(config)
            devices.require_driver(cfg.device)
        except BadInput as error:
            error.where = f"{error.where} (job {number}; none was started)"
            raise
        return cls(number, cfg, config, labels, overrides, name)

    def digest(self) -> str:
        """Hash of the configuration, equal for jobs that would give the same run."""
        content = {k: v for k, v in self.config.items() if k not in HOW} | {
            "labels": self.labels[:2]
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Sweep:
    """Runs jobs in child processes, at most `size` at a time.

    Args:
        folder: of the sweep, for the records.
        size: jobs at a time.

    Attributes:
        exit_code: 128 + n after signal n, else 0.

    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size, self.concurrent = folder, size, 1
        self.paths: dict[int, Path] = {}  # number of a job of this start -> path of its record
        self.known = _records(folder)
        self.exit_code = 0

    def run(self, jobs: list[Job]) -> None:
        """Run the jobs that are not complete."""
        self.concurrent = min(self.size, len(jobs))
        start, pool = self._pool(jobs)
        try:
            for job in jobs:
                if self.exit_code or pool.signum is not None:
                    break
                if (task := self._task(job)) is not None and not start(job.number, task):
                    self._not_started(job, pool.signum or signal.SIGINT)
        finally:
            pool.drain()
        if pool.signum is not None:
            self.exit_code = 128 + pool.signum

    def result(self, job: Job) -> float | None:
        """The last evaluation of a job of this start, for a sweeper that optimizes it."""
        value = records.load(self.paths[job.number]).get("eval_return")
        return float(value) if isinstance(value, int | float) else None

    def _not_started(self, job: Job, signum: int) -> None:
        """Record a job that a stop signal reached before it started."""
        path = self.paths[job.number]
        ended = {"exit_code": 128 + signum, "state": "interrupted", "reason": _name(signum)}
        write_json(path, records.load(path) | ended)

    def _pool(self, jobs: list[Job]) -> tuple[Callable[[int, run_job.Task], bool], Pool[Any]]:
        """A function that starts a task, and the pool it starts it in."""
        if processes.can_fork():
            run_job.import_modules(any(job.config["log"]["tensorboard"] for job in jobs))
            forked = ForkPool(self.size, self._ended, run_job.run)
            return forked.start, forked
        command = [sys.executable, "-m", run_job.__name__]
        spawned = SpawnPool(self.size, self._ended, command)
        return lambda number, task: spawned.start(number, dataclasses.asdict(task)), spawned

    def _task(self, job: Job) -> run_job.Task | None:
        """Write the record of a job that starts. None: it is complete already."""
        digest = job.digest()
        path, earlier = self._record_of(job, digest)
        self.paths[job.number] = path
        if _is_complete(earlier):
            terminal.say(f"[{job.number}] {job.name}: complete, {earlier['run_dir']}")
            return None
        quiet = job.cfg.shown == "none" or self.size > 1
        config = {**job.config, "quiet": quiet}
        if folder := _to_resume(earlier):
            config["resume"] = folder
        else:
            folder = str(run_folder.new_name(*job.labels[:2], job.cfg.seed))
            config["run_dir"] = folder
        record = {
            **{"overrides": job.overrides, "labels": list(job.labels[:2])},
            **{"seed": job.cfg.seed, "config": digest, "run_dir": folder},
            "earlier": _attempts(earlier),
        }
        unfinished = {"exit_code": 1, "state": "running", "reason": "did not end"}
        write_json(path, record | {"eval_return": None, "seconds": 0.0, "step": 0} | unfinished)

        return run_job.Task(
            title="" if job.cfg.shown == "none" else f"[{job.number}] {job.name}",
            config=config,
            labels=job.labels,
            concurrent=self.concurrent,
            record=record,
            path=str(path),
            folder=folder,
        )

    def _record_of(self, job: Job, digest: str) -> tuple[Path, Record]:
        """The path of a job's record, and its record from an earlier start, if any."""
        known = self.known.get(digest, [])
        if known:
            return known.pop(0)
        number = job.number
        while os.path.lexists(path := self.folder / f"job_{number:04d}.json"):
            number += 1  # of another job, from a sweep with other values
        return path, {}

    def _ended(self, number: int, code: int) -> None:
        path = self.paths[number]
        record = records.load(path)
        if record.get("state") == "running":  # the process ended before it wrote the record
            state, reason = "failed", f"the process ended by itself with code {code}"
            if code - 128 in processes.STOP_SIGNALS:  # before it could handle the signal
                state, reason = "interrupted", _name(code - 128)
            elif code > 128:
                reason = f"killed by {_name(code - 128)}"
            if code == KILLED:
                reason += ", which the system sends when it is out of memory"
            write_json(path, record | {"exit_code": code or 1, "state": state, "reason": reason})
            record = records.load(path)
        failed = record.get("exit_code")
        if failed or self.size > 1:
            ended = f"{record['state']}: {record['reason']}" if failed else "done"
            terminal.say(f"[{number}] {ended}")
        if record.get("state") == "interrupted":
            self.exit_code = int(record["exit_code"])


def _records(folder: Path) -> dict[str, list[tuple[Path, Record]]]:
    """Records of earlier starts of the sweep, by the hash of the configuration."""
    found: dict[str, list[tuple[Path, Record]]] = {}
    for path in records.paths(folder):
        record = records.load(path)
        found.setdefault(str(record.get("config")), []).append((path, record))
    return found


def _is_complete(record: Record) -> bool:
    """Whether record and run folder say so; a run whose folder was deleted runs again."""
    if record.get("state") != "completed":
        return False
    return run_folder.read_status(Path(record["run_dir"])).get("state") == "completed"


def _to_resume(record: Record) -> str | None:
    """The run folder of a job that was interrupted, killed or had no disk space.

    A job that failed by an error starts again in a new folder: resumed, it would fail again.
    """
    code = record.get("exit_code", 0)
    stopped = record.get("state") in ("running", "interrupted") or code > 128 or code == STORAGE
    folder = record.get("run_dir") or ""
    return folder if stopped and (Path(folder) / "config.yaml").exists() else None


def _attempts(record: Record) -> list[Record]:
    """How earlier attempts of the job ended, the oldest first."""
    if not record:
        return []
    kept = {k: record.get(k) for k in ("run_dir", "state", "reason", "exit_code")}
    return [*record.get("earlier", []), kept]


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
