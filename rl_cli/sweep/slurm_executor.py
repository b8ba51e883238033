"""Jobs as tasks of Slurm job arrays, through submitit (`pip install "rl-cli[slurm]"`).

sweep/slurm/<stamp>/         files of one submission: submitit's, and the output of Slurm
sweep/slurm/jobs/job_0003    the Slurm job that runs this job, such as 1234_5

Slurm ends a job before it is complete: it saves a checkpoint, and continues from there when it is
started again (`SlurmJob`). `scancel` ends it for good; another start of the sweep resumes it.
"""

from __future__ import annotations

import datetime
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rl_cli.core.errors import BadInput
from rl_cli.storage.atomic_files import write_atomic
from rl_cli.storage.untrusted import read
from rl_cli.sweep import records
from rl_cli.sweep.executor import KILLED, Ended, Executor, Wanted
from rl_cli.sweep.slurm_job import SlurmJob
from rl_cli.sweep.task import Task

LARGEST_ARRAY = 1000
"""Tasks of one array: Slurm's limit (MaxArraySize) is 1001 unless the cluster sets another."""

ACTIVE = frozenset(
    (
        *("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "PREEMPTED"),
        *("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESIZING", "RESV_DEL_HOLD"),
        *("SIGNALING", "STAGE_OUT"),
    )
)
"""States of a job of Slurm that runs or will run."""

STOPPED = 128 + signal.SIGTERM

ENDS = {
    "CANCELLED": (STOPPED, "canceled in Slurm"),
    "TIMEOUT": (STOPPED, "ended by Slurm's time limit; longer: hydra.launcher.timeout_min"),
    "DEADLINE": (STOPPED, "ended by Slurm's deadline"),
    "OUT_OF_MEMORY": (KILLED, "killed by Slurm: out of memory; more: hydra.launcher.mem_gb"),
    "NODE_FAIL": (KILLED, "Slurm lost its node"),
    "": (KILLED, "Slurm does not know its job any more"),
}
"""Exit code and reason of a job that wrote no record of its end, by Slurm's state."""

RECORD_SECONDS = 1.0
"""How often the records of running jobs are read."""

ID = re.compile(r"[0-9]{1,12}(?:_[0-9]{1,9})?")


class SlurmExecutor(Executor):
    """Submits tasks as arrays, and follows them by their records and by squeue.

    Args:
        settings: of `hydra.launcher`.
        wanted: by the sweep.

    """

    outlives = True

    def __init__(self, settings: Mapping[str, Any], wanted: Wanted) -> None:
        self.settings, self.most = settings, wanted.jobs
        self.folder = wanted.folder.absolute() / "slurm"
        self.queued: dict[int, Task] = {}  # not yet submitted
        self.running: dict[int, tuple[str, Path]] = {}  # number -> Slurm's job, path of the record
        self.states: dict[str, str] = {}  # Slurm's job -> its state, when squeue was last called
        self.missing: set[int] = set()  # numbers of the jobs that were not active then
        self.queried = self.looked = 0.0

    def free(self) -> int:
        return LARGEST_ARRAY  # Slurm queues

    def described(self, count: int) -> str:
        most = self.settings["array_parallelism"] or self.most
        return "in Slurm" if most <= 1 else f"in Slurm, at most {most} at a time"

    def start(self, number: int, task: Task) -> None:
        self.queued[number] = task

    def adopt(self, number: int, path: Path) -> bool:
        if not self.queried:
            self._ask(_id_of(file) for file in sorted(self.folder.glob("jobs/job_*")))
        job = _id_of(self.folder / "jobs" / path.stem)
        if self.states.get(job) not in ACTIVE:
            return False
        self.running[number] = job, path
        return True

    def wait(self, seconds: float) -> list[Ended]:
        ended = self._submit()
        deadline = time.monotonic() + seconds
        while True:
            ended += self._by_records() + self._by_squeue()
            for end in ended:
                self.running.pop(end.number, None)
            left = deadline - time.monotonic()
            if ended or left <= 0 or not self.running:
                return ended
            time.sleep(min(left, RECORD_SECONDS))

    def is_queued(self, number: int) -> bool:
        return number in self.queued or self.states.get(self.running[number][0]) == "PENDING"

    def send(self, number: int, signum: int) -> None:
        if number in self.running:
            _run("scancel", self.running[number][0])

    def lines_about_left(self) -> list[str]:
        arrays = " ".join(dict.fromkeys(job.split("_")[0] for job, _ in self.running.values()))
        return [f"slurm:   the others continue; to end them: scancel {arrays}"]

    def _submit(self) -> list[Ended]:
        """Submit what was started since the last call. -> tasks that Slurm does not take."""
        refused = []
        while chunk := dict(itertools.islice(self.queued.items(), LARGEST_ARRAY)):
            for number in chunk:
                del self.queued[number]
            stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
            folder = self.folder / f"{stamp}_{os.urandom(4).hex()}"
            try:
                folder.mkdir(parents=True)  # a new one: submitit reads pickles from it
                executor = _submitit(folder, self.settings, self.most)
                with executor.batch():
                    jobs = [executor.submit(SlurmJob(), task.plain()) for task in chunk.values()]
                ids = [job.job_id for job in jobs]
                for (number, task), job in zip(chunk.items(), ids, strict=True):
                    self.running[number] = job, Path(task.path)
                    write_atomic(self._file_of(task.path), job.encode())
            except Exception as error:  # of any kind: sbatch's text is in the message
                reason = f"not submitted: {_last_line(str(error))}"
                refused += [
                    Ended(number, 1, reason) for number in chunk if number not in self.running
                ]
        return refused

    def _file_of(self, record: str) -> Path:
        folder = self.folder / "jobs"
        folder.mkdir(exist_ok=True)
        return folder / Path(record).stem

    def _by_records(self) -> list[Ended]:
        """Tasks whose record says that they have ended. One that was interrupted may be started again."""
        if time.monotonic() - self.looked < RECORD_SECONDS:
            return []
        self.looked = time.monotonic()
        read = {number: records.load(path) for number, (_, path) in self.running.items()}
        return [
            Ended(number, record["exit_code"])
            for number, record in read.items()
            if record.get("state") in ("completed", "failed")
        ]

    def _by_squeue(self) -> list[Ended]:
        """Tasks whose job Slurm has ended.

        It was not active twice in a row: a job that is requeued may not be for a moment.
        """
        if time.monotonic() - self.queried < self.settings["poll_seconds"] or not self.running:
            return []
        if not self._ask(job for job, _ in self.running.values()):
            return []
        gone = {n for n, (job, _) in self.running.items() if self.states.get(job) not in ACTIVE}
        again, self.missing = gone & self.missing, gone
        return [self._ended(number, self.running[number][0]) for number in sorted(again)]

    def _ended(self, number: int, job: str) -> Ended:
        state = self.states.get(job, "")
        if state in ENDS:
            return Ended(number, *ENDS[state])
        logs = sorted(self.folder.glob(f"*/{job}_0_log.err"))
        text = logs[-1].read_text(encoding="utf-8", errors="replace") if logs else ""
        said = f": {_last_line(text)}" if text.strip() else f"; see {self.folder}/*/{job}_0_log.*"
        has_started = "where" in records.load(self.running[number][1])
        when = "" if has_started else " before the run started"
        # killed with all its processes: code above 128, so that another start resumes it
        code = KILLED if has_started else 1
        return Ended(number, code, f"Slurm's job {job} ended as {state}{when}{said}")

    def _ask(self, jobs: Iterable[str]) -> bool:
        """Read the states of the jobs from squeue. False: it does not answer."""
        self.queried = time.monotonic()
        arrays = ",".join(sorted({job.split("_")[0] for job in jobs if job}))
        if not arrays:
            return True
        done = _run("squeue", "-h", "-r", "-t", "all", "-j", arrays, "-o", "%i %T")
        if done is None or (done.returncode and "Invalid job id" not in done.stderr):
            return False
        self.states = dict(
            line.split() for line in done.stdout.splitlines() if len(line.split()) == 2
        )
        return True


def make(settings: Mapping[str, Any], wanted: Wanted) -> SlurmExecutor:
    """The executor, if Slurm would take jobs with these settings.

    Raises:
        BadInput: it would not.

    """
    typed = "hydra/launcher=slurm"
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"{typed} needs submitit ({error})", typed, 'pip install "rl-cli[slurm]"'
        ) from error
    if shutil.which("sbatch") is None:
        raise BadInput(
            "the commands of Slurm are not on this machine", typed, "start it on a login node"
        )
    if wanted.gpus:
        raise BadInput(
            "Slurm chooses the GPUs",
            f"gpus={','.join(wanted.gpus)}",
            "hydra.launcher.gpus_per_node=1",
        )
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.sh"
        executor = _submitit(Path(folder), settings, wanted.jobs)
        script.write_text(executor._executor._make_submission_file_text("true", "test"))
        tested = _run("sbatch", "--test-only", str(script))
    if tested is None or tested.returncode:
        answer = "sbatch does not answer" if tested is None else _last_line(tested.stderr)
        given = " ".join(f"{k}={v}" for k, v in settings.items() if v not in (None, {}))
        raise BadInput(
            f"Slurm refuses these jobs: {answer}",
            f"hydra.launcher: {given}",
            "hydra.launcher.<key>=<value>",
        )
    return SlurmExecutor(settings, wanted)


def _submitit(folder: Path, settings: Mapping[str, Any], jobs: int) -> Any:
    """Submitit's executor with our settings, whose names are those of hydra-submitit-launcher."""
    import submitit

    given = {k: v for k, v in settings.items() if v is not None}
    given.pop("poll_seconds")
    executor = submitit.AutoExecutor(
        folder, cluster="slurm", slurm_max_num_timeout=given.pop("max_num_timeout")
    )
    plain = {k: given.pop(k) for k in GENERAL if k in given}
    if jobs > 1:
        given.setdefault("array_parallelism", jobs)
    given["additional_parameters"] = {"requeue": True, **given.get("additional_parameters", {})}
    executor.update_parameters(**plain, **{f"slurm_{k}": v for k, v in given.items()})
    return executor


GENERAL = ("name", "timeout_min", "cpus_per_task", "mem_gb", "gpus_per_node")
"""Settings that submitit has for every kind of cluster."""


def _id_of(file: Path) -> str:
    try:
        text = read(file, 64).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""
    return text if ID.fullmatch(text) else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _run(*words: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command of Slurm. None: it cannot be run, or does not end."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
