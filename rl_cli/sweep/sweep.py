"""Run jobs with an executor, with a record per job.

sweep/job_0003.json   overrides of the job, run folder, exit code and reason
sweep/job_0003.log    what the job printed, if anything

A sweep started again in the same folder skips completed jobs and resumes interrupted ones. Jobs are
identified by their configuration, not by their number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from rl_cli.core import stop_signals
from rl_cli.core.errors import RunError
from rl_cli.core.start_folder import path_here
from rl_cli.storage import run_folder
from rl_cli.storage.atomic_files import write_json
from rl_cli.sweep import progress, records
from rl_cli.sweep.executor import Ended, Executor
from rl_cli.sweep.job import RUNNING, WAITING, Job, JobState
from rl_cli.sweep.output import Output
from rl_cli.sweep.records import Record
from rl_cli.sweep.task import Task
from rl_cli.sweep.view import View
from rl_cli.tracking.console import STOPPING

STORAGE = 4
"""Exit code of a run that could not write its files."""

FINAL = (0, 2, 3)
"""Exit codes of jobs that are not started again: complete, bad input, numbers that are not finite."""

PROGRESS_SECONDS = 1.0
"""How often the progress of running jobs is read."""


class Sweep:
    """Starts jobs, follows them, and keeps their records. A context manager: stop signals are sent on to jobs.

    Args:
        folder: of the sweep, for the records; the caller holds its lock.
        executor: runs the jobs.
        view: shows them.
        retries: how often a job that failed is started again, from its last checkpoint.

    Attributes:
        exit_code: 128 + n after signal n, else 0.
        left: lines about jobs that continue after the signal, in a scheduler; empty: none does.

    """

    def __init__(self, folder: Path, executor: Executor, view: View, retries: int = 0) -> None:
        self.folder, self.executor, self.view, self.retries = folder, executor, view, retries
        self.exit_code = 0
        self.left: list[str] = []
        self.states: dict[int, JobState] = {}
        self.paths: set[Path] = set()  # of their records
        self.waiting: deque[JobState] = deque()
        self.running: dict[int, tuple[JobState, Output]] = {}
        self.ended: list[JobState] = []  # not yet returned by `advance`
        self.given_up: set[int] = set()  # numbers of jobs that `stop` ended
        self.known = _records(folder)
        self.progress_read = 0.0
        self.signals: list[int] = []
        self.sent = 0  # of the signals
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Sweep:
        self.signals = self._stack.enter_context(stop_signals.collected())
        self._stack.callback(self.view.close)
        self._stack.callback(self.executor.close)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs that are not complete, until all have ended or a stop signal arrives."""
        with self:
            for job in jobs:
                self.add(job)
            while self.is_busy:
                self.advance(0.25)

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits."""
        return bool(self.running or self.waiting or self.ended)

    def add(self, job: Job) -> JobState:
        """Queue a job. One that is complete already is returned by the next `advance`."""
        path, record = self._record_of(job)
        state = JobState(job, path, record)
        self.paths.add(path)
        self.states[job.number] = state
        if _is_complete(record):
            state.skip()
            self.ended.append(state)
        elif record and self.executor.adopt(job.number, path):
            self._follow(state)
        else:
            self.waiting.append(state)
            if not record:  # an earlier one names the run to resume
                record = self._new_record(state) | {"state": WAITING, "reason": "not started"}
                self._write(state, record, synced=False)  # of 10,000 jobs this would take minutes
        self.view.add(state)
        return state

    def stop(self, number: int) -> None:
        """Have a job end: one that waits is not started; one that runs saves a checkpoint. It is not repeated."""
        self.given_up.add(number)
        if number in self.running:
            self.executor.send(number, signal.SIGTERM)
        self.waiting = deque(state for state in self.waiting if state.number != number)

    def advance(self, seconds: float) -> list[JobState]:
        """Start what can be started, wait up to `seconds`. -> jobs that have ended since the last call."""
        self._send_signals()
        while self.waiting and self.executor.free() > 0 and not self.signals:
            self._start(self.waiting.popleft())
        if self.running:
            for end in self.executor.wait(0.0 if self.ended else seconds):
                self._end(end)
        self._send_signals()
        if self.signals:
            self.waiting.clear()
        for number, (_, output) in self.running.items():
            self._show(number, output.read())
        self._read_progress()
        self.view.refresh()
        ended, self.ended = self.ended, []
        return ended

    def _send_signals(self) -> None:
        """Send the signals that have arrived on to all jobs, each once."""
        for signum in self.signals[self.sent :]:
            self.sent += 1
            self.exit_code = self.exit_code or 128 + signum
            if self.executor.outlives:
                self.left = self.left or self.executor.lines_about_left()
                self.running.clear()
                continue
            self.view.stopping(signum)
            for number in self.running:
                self.executor.send(number, signum)

    def _start(self, state: JobState) -> None:
        job, record = state.job, self._new_record(state)
        if folder := _to_resume(state.record, is_retry=state.attempts > 0):
            state.start(folder, progress.read(Path(folder)).step)
        else:
            folder = str(run_folder.new_name(*job.labels[:2], job.cfg.seed))
            state.start(folder)
        record["run_dir"] = folder
        self._write(state, record | {"state": RUNNING, "reason": "did not end"})
        output = Output(state.path.with_suffix(".log"))
        task = Task(
            config={**job.config, "quiet": True, "run_dir": folder, "resume": "auto"},
            labels=job.labels,
            concurrent=self.executor.side_by_side,
            record=record,
            path=str(state.path.absolute()),
            folder=folder,
            start=str(Path.cwd()),
            output=str(output.path.absolute()),
        )
        self.running[job.number] = state, output
        self.view.changed(state)
        try:
            self.executor.start(job.number, task)
        except OSError as error:
            self._end(Ended(job.number, 1, f"it cannot be started: {error}"))

    def _follow(self, state: JobState) -> None:
        """Continue with a job that an earlier start of the sweep left to the executor."""
        folder = state.record["run_dir"]
        state.start(folder, progress.read(Path(folder)).step)
        self.running[state.number] = state, Output(state.path.with_suffix(".log"))

    def _new_record(self, state: JobState) -> Record:
        """The fields that are known before a job starts; how earlier attempts ended."""
        job = state.job
        return {
            **{"overrides": job.overrides, "labels": list(job.labels[:2])},
            **{"seed": job.cfg.seed, "config": job.digest(), "run_dir": ""},
            "start": str(Path.cwd()),
            "earlier": _attempts(state.record),
            **{"eval_return": None, "seconds": 0.0, "step": 0, "exit_code": 1},
        }

    def _record_of(self, job: Job) -> tuple[Path, Record]:
        """The path of a job's record, and its record from an earlier start, if any."""
        for code in (job.digest(), job.earlier_digest()):
            if known := self.known.get(code, []):
                return known.pop(0)
        number = job.number
        while (path := self.folder / f"job_{number:04d}.json") in self.paths or _has_content(path):
            number += 1  # of another job, from a sweep with other values
        return path, {}

    def _end(self, end: Ended) -> None:
        state, output = self.running.pop(end.number)
        self._show(end.number, output.finish())
        record = records.load(state.path) or dict(state.record)
        if record.get("state") == RUNNING:  # the process ended before it wrote the record
            record |= end.as_record()
            self._write(state, record)
        elif record.get("state") == "interrupted" and end.reason:
            record |= {"reason": f"{record['reason']}; {end.reason}"}
            self._write(state, record)
        state.end(record)
        is_final = record["exit_code"] in FINAL or end.number in self.given_up or self.signals
        if is_final or state.attempts > self.retries:
            self.ended.append(state)
        else:
            self.waiting.append(state)
        self.view.changed(state)
        if state in self.waiting:
            state.wait()

    def _write(self, state: JobState, record: Record, synced: bool = True) -> None:
        """Write a record. One that cannot be written is kept in memory; the jobs continue."""
        state.keep(record)
        try:
            write_json(state.path, record, synced)
        except RunError as error:
            self.view.output(state.number, [f"its record is not written: {error.what}"])

    def _show(self, number: int, lines: Sequence[str]) -> None:
        """Show the output of a job, without the line that it stops: that is shown once for all jobs."""
        self.view.output(number, [line for line in lines if line != STOPPING])

    def _read_progress(self) -> None:
        if not self.view.is_live or time.monotonic() - self.progress_read < PROGRESS_SECONDS:
            return
        self.progress_read = time.monotonic()
        for number, (state, _) in self.running.items():
            if self.executor.is_queued(number):
                state.wait()
                continue
            found = progress.read(Path(state.folder))
            state.advance(found.step, found.eval_return)


def _records(folder: Path) -> dict[str, list[tuple[Path, Record]]]:
    """Records of earlier starts of the sweep, by the hash of the configuration."""
    found: dict[str, list[tuple[Path, Record]]] = {}
    for path in records.paths(folder):
        record = records.load(path)
        run = run_folder.of_record(folder, record.get("run_dir"), record.get("start"))
        if run is not None:  # relative to the current folder where it is inside
            record["run_dir"] = path_here(run)
        found.setdefault(str(record.get("config")), []).append((path, record))
    return found


def _has_content(path: Path) -> bool:
    """False: there is nothing, or an empty file, which a power failure leaves of a job that was not started."""
    with contextlib.suppress(FileNotFoundError):
        info = os.lstat(path)
        return not stat.S_ISREG(info.st_mode) or info.st_size > 0
    return False


def _is_complete(record: Record) -> bool:
    """Whether record and run folder say so; a run whose folder was deleted runs again."""
    if record.get("state") != "completed":
        return False
    return run_folder.read_status(Path(record["run_dir"])).get("state") == "completed"


def _to_resume(record: Record, is_retry: bool = False) -> str | None:
    """The run folder of a job that was interrupted, killed or had no disk space; of any that is repeated.

    At another start of the sweep, a job that failed by an error starts in a new folder: its code may have
    changed since then.
    """
    code = record.get("exit_code", 0)
    stopped = record.get("state") in (RUNNING, "interrupted") or code > 128 or code == STORAGE
    folder = record.get("run_dir") or ""
    return folder if (stopped or is_retry) and (Path(folder) / "config.yaml").exists() else None


def _attempts(record: Record) -> list[Record]:
    """How earlier attempts of the job ended, the oldest first."""
    if not record:
        return []
    earlier: list[Record] = record.get("earlier", [])
    if record.get("state") == WAITING:
        return earlier
    return [*earlier, {k: record.get(k) for k in ("run_dir", "state", "reason", "exit_code")}]
