"""The interface of executors, which run jobs: in child processes here, or on a cluster.

An executor is one file; the launcher that chooses it (`hydra_plugins/rl_train/<name>.py`) is another. The
driver (`sweep.Sweep`, which a sweep and a search use) decides which job runs next, writes records, and
starts failed jobs again; an executor only starts processes and says how they ended.
"""

from __future__ import annotations

import dataclasses
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

from rl_cli.core import processes
from rl_cli.sweep.task import Task

KILLED = 128 + 9
"""Exit code of a process that SIGKILL ended; Windows has no name for the signal."""


class Ended(NamedTuple):
    """A task whose process has ended.

    `code`: its exit code; 128 + n if signal n killed it. `reason`: more about it, for example from a scheduler;
    used if the job wrote no record of its end.
    """

    number: int
    code: int
    reason: str = ""

    def as_record(self) -> dict[str, Any]:
        """The end of a task that wrote no record of it."""
        code, state, reason = (
            self.code,
            "failed",
            f"the process ended by itself with code {self.code}",
        )
        if code - 128 in processes.STOP_SIGNALS:  # before it could handle the signal
            state, reason = "interrupted", _name(code - 128)
        elif code > 128:
            reason = f"killed by {_name(code - 128)}"
        if code == KILLED:
            reason += ", which the system sends when it is out of memory"
        return {"exit_code": code or 1, "state": state, "reason": self.reason or reason}


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Settings of an executor that are keys of a run.

    Args:
        jobs: at a time.
        folder: of the sweep, for files of the executor.
        gpus: devices for CUDA_VISIBLE_DEVICES, one to a job; empty: the variable is left alone.
        tensorboard: whether jobs write TensorBoard files, which takes long to import.

    """

    jobs: int
    folder: Path
    gpus: tuple[str, ...] = ()
    tensorboard: bool = True


class Executor(ABC):
    """Runs tasks, each in its own process. Its methods are called by one thread; only `wait` waits.

    A process runs `python -m rl_cli.sweep.run_job`, with the task as JSON on standard input or in the
    file that its argument names. It must see the folders of the sweep and of the runs.

    Attributes:
        side_by_side: tasks at a time on one machine, which share its memory.
        outlives: whether tasks continue when this process ends. A stop signal then leaves them alone.

    """

    side_by_side: int = 1
    outlives: bool = False

    @abstractmethod
    def free(self) -> int:
        """How many more tasks can be started now."""

    def described(self, count: int) -> str:
        """Where the tasks run, and how many of `count` at a time."""
        return f"{min(self.free(), count)} at a time"

    @abstractmethod
    def start(self, number: int, task: Task) -> None:
        """Start a task, at the latest in the next `wait`: a scheduler may submit several as one array.

        Raises:
            OSError: it cannot be started.

        """

    @abstractmethod
    def wait(self, seconds: float) -> list[Ended]:
        """Tasks that have ended since the last call; returns when there is one, or after `seconds`."""

    @abstractmethod
    def send(self, number: int, signum: int) -> None:
        """Send a stop signal to a task that has not ended: it saves and ends. Never raises."""

    def adopt(self, number: int, path: Path) -> bool:
        """Whether the task with this record, which an earlier executor started, has not ended.

        It is then one of this executor's.
        """
        return False

    def is_queued(self, number: int) -> bool:
        """Whether a task that was started waits for its turn. Not called after it has ended."""
        return False

    def lines_about_left(self) -> list[str]:
        """Lines that say what becomes of the tasks, for an executor that `outlives` its process."""
        return []

    def close(self) -> None:  # noqa: B027  most have nothing to release
        """Release what the executor holds. Every task has ended, or a second signal arrived."""
