"""The jobs of a sweep: each in a process of its own, each with a record of how it ended.

sweep/job_0003.json   what the job was, where it ran, how it ended

A sweep that is started again in its folder skips what is complete and goes on with what is not; a job
is known again by its configuration, not by its number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from rl_cli import algos
from rl_cli.config.run import RunConfig
from rl_cli.core import devices, memory
from rl_cli.core.errors import BadInput, RunError
from rl_cli.storage import run_folder
from rl_cli.storage.atomic_files import write_json
from rl_cli.sweep.process_pool import Pool
from rl_cli.training.experiment import train
from rl_cli.training.outcome import Outcome
from rl_cli.training.resume import HOW

Record = dict[str, Any]

STORAGE = 4


@dataclasses.dataclass
class Job:
    """One combination of a sweep."""

    number: int
    cfg: RunConfig
    config: dict[str, Any]  # the same as composed, plain values
    labels: tuple[str, str]
    overrides: list[str]
    name: str  # what is particular to it, in words

    @classmethod
    def of(
        cls,
        number: int,
        config: dict[str, Any],
        labels: tuple[str, str],
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
        """Equal for jobs that would do the same."""
        what = {k: v for k, v in self.config.items() if k not in HOW} | {"labels": self.labels}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


class Sweep:
    """Jobs, carried out in children at most `size` at a time.

    Args:
        folder: of the sweep.
        size: jobs at a time.

    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size, self.together = folder, size, 1
        self.places: dict[int, Path] = {}  # records of the jobs of this start, by number
        self.before = _records(folder)
        self.exit_code = 0  # of an interruption

    def run(self, jobs: list[Job]) -> None:
        """Carry out what is not complete."""
        self.together = min(self.size, len(jobs))
        _import_everything(jobs)
        pool = Pool(self.size, self._ended)
        try:
            for job in jobs:
                if self.exit_code:
                    break
                self._start(job, pool)
        except KeyboardInterrupt:
            self.exit_code = 130
        finally:
            pool.drain()
        if pool.signum is not None:
            self.exit_code = 128 + pool.signum

    def result(self, job: Job) -> float | None:
        """The last evaluation of a job that was run here, for a sweeper that asks for it."""
        value = _read(self.places[job.number]).get("eval_return")
        return float(value) if isinstance(value, int | float) else None

    def _start(self, job: Job, pool: Pool) -> None:
        digest = job.digest()
        path, earlier = self._place(job, digest)
        self.places[job.number] = path
        if _is_complete(earlier):
            print(f"[{job.number}] {job.name}: complete, {earlier['run_dir']}", flush=True)
            return
        cfg = dataclasses.replace(job.cfg, quiet=job.cfg.quiet or self.size > 1)
        if folder := _to_resume(earlier):
            cfg = dataclasses.replace(cfg, resume=folder)
        else:
            folder = str(run_folder.new_name(*job.labels, cfg.seed))
            cfg = dataclasses.replace(cfg, run_dir=folder)
        record = {
            **{"overrides": job.overrides, "labels": list(job.labels)},
            **{"seed": cfg.seed, "config": digest, "run_dir": folder},
            "earlier": _attempts(earlier),
        }
        unfinished = {"exit_code": 1, "state": "running", "reason": "did not end"}
        write_json(path, record | {"eval_return": None, "seconds": 0.0, "step": 0} | unfinished)

        def work() -> int:
            memory.share_among(self.together)
            if not job.cfg.quiet:
                print(f"[{job.number}] {job.name}", flush=True)
            outcome = _guarded(cfg, job)
            made = folder if Path(folder).exists() else ""
            write_json(path, record | dataclasses.asdict(outcome) | {"run_dir": made})
            return outcome.exit_code

        pool.start(job.number, work)

    def _place(self, job: Job, digest: str) -> tuple[Path, Record]:
        """Where a job's record is kept, and the one that is there of the same job."""
        known = self.before.get(digest, [])
        if known:
            return known.pop(0)
        number = job.number
        while (path := self.folder / f"job_{number:04d}.json").exists():
            number += 1  # another job's, of a sweep with other values
        return path, {}

    def _ended(self, number: int, code: int) -> None:
        path = self.places[number]
        told = _read(path)
        if told.get("state") == "running":  # it had no time to say how it ended
            reason = f"the process ended by itself with code {code}"
            if code > 128:
                reason = f"killed by {_name(code - 128)}"
            if code == 128 + signal.SIGKILL:
                reason += ", as by a system that is out of memory"
            write_json(path, told | {"exit_code": code or 1, "state": "failed", "reason": reason})
            told = _read(path)
        if told.get("exit_code") or self.size > 1:
            ended = "done" if not told.get("exit_code") else f"{told['state']}: {told['reason']}"
            print(f"[{number}] {ended}", flush=True)
        if told.get("state") == "interrupted":
            self.exit_code = int(told["exit_code"])


def _guarded(cfg: RunConfig, job: Job) -> Outcome:
    """Train; whatever is raised becomes a record."""
    try:
        return train(cfg, job.config, job.labels)
    except RunError as error:
        print(error, file=sys.stderr)
        return Outcome(error.exit_code, "failed", error.what)
    except SystemExit as error:  # of an env or a library: no reason to call the job done
        return Outcome(1, "failed", f"SystemExit: {error.code}")
    except Exception as error:
        traceback.print_exc()
        return Outcome(1, "failed", f"{type(error).__name__}: {error}")


def _records(folder: Path) -> dict[str, list[tuple[Path, Record]]]:
    """What was recorded in an earlier start of the sweep, by configuration."""
    found: dict[str, list[tuple[Path, Record]]] = {}
    for path in sorted(folder.glob("job_*.json")):
        record = _read(path)
        found.setdefault(str(record.get("config")), []).append((path, record))
    return found


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_complete(record: Record) -> bool:
    """Also by the word of the run's own folder: one that was deleted is made again."""
    if record.get("state") != "completed":
        return False
    return run_folder.read_status(Path(record["run_dir"])).get("state") == "completed"


def _to_resume(record: Record) -> str | None:
    """The folder of a job that was stopped, killed or short of disk.

    One that failed in itself begins anew in another folder: it would fail again where it did.
    """
    code = record.get("exit_code", 0)
    stopped = record.get("state") in ("running", "interrupted") or code > 128 or code == STORAGE
    folder = record.get("run_dir") or ""
    return folder if stopped and (Path(folder) / "config.yaml").exists() else None


def _attempts(record: Record) -> list[Record]:
    """How the job ended before, the oldest first."""
    if not record:
        return []
    kept = {k: record.get(k) for k in ("run_dir", "state", "reason", "exit_code")}
    return [*record.get("earlier", []), kept]


def _import_everything(jobs: list[Job]) -> None:
    """What is slow to import is imported once, before the processes part."""
    import rl_cli.training.run  # noqa: F401  imports torch

    if any(job.cfg.log.tensorboard for job in jobs):
        pass


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
