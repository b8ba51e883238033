"""What submitit runs on a node of Slurm: one attempt at a job, and what happens when it must end.

| Slurm | the run | then |
|---|---|---|
| time limit, `signal_delay_s` before it (SIGUSR2) | saves | submitit requeues the job, `max_num_timeout` times |
| preemption, with a grace time; SIGTERM or SIGUSR1 from the user | saves | the job requeues itself |
| `scontrol requeue` | saves | Slurm starts the job again |
| node lost | has its last checkpoint | Slurm starts the job again |
| `scancel` | saves | the job has ended |
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rl_cli.core.processes import STOP_SIGNALS
from rl_cli.sweep.attempt import Attempt

if TYPE_CHECKING:
    import submitit


class SlurmJob:
    """The function that submitit calls with the task. It is started again by calling it again."""

    attempt: Attempt | None = None

    def __call__(self, task: Mapping[str, Any]) -> int:
        job = os.environ["SLURM_JOB_ID"]
        self.attempt = Attempt(task, f"Slurm job {_name(job)} on {socket.gethostname()}")
        for signum in STOP_SIGNALS:  # sent to every process of the job; the run's own acts on them
            signal.signal(signum, _ignore)
        try:
            code = self.attempt.run()
        except Exception as error:  # submitit's, which it raises in its handler of the time limit
            self.attempt.add_reason(str(error))
            raise
        if code - 128 in STOP_SIGNALS and _state(job) == "RUNNING":
            self.attempt.add_reason("requeued")
            subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)
        return code

    def checkpoint(self, task: Mapping[str, Any]) -> submitit.helpers.DelayedSubmission:
        """Called by submitit before it requeues the job: save, and return what to call next."""
        import submitit

        if self.attempt is not None:
            self.attempt.stop()
            self.attempt.add_reason("requeued")
        return submitit.helpers.DelayedSubmission(SlurmJob(), task)


def _name(job: str) -> str:
    array, index = (os.environ.get(f"SLURM_ARRAY_{kind}") for kind in ("JOB_ID", "TASK_ID"))
    return f"{array}_{index}" if array and index else job


def _state(job: str) -> str:
    """Slurm's state of a job: RUNNING during the grace time of a preemption, COMPLETING after scancel."""
    words = ["squeue", "-h", "-j", job, "-o", "%T"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _ignore(signum: int, frame: object) -> None:
    """A handler that does nothing; unlike SIG_IGN, child processes do not inherit it."""
