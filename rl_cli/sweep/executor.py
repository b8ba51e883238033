"""The interface of what runs jobs: child processes here, or a scheduler that starts them elsewhere.

An executor is one file; the launcher that chooses it (`hydra_plugins/rl_train/<name>.py`) is another. The
driver (`sweep.Sweep`, which a sweep and a search use) decides which job runs next, writes records, and
starts failed jobs again; an executor only starts processes and says how they ended.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from rl_cli.sweep.task import Task


class Ended(NamedTuple):
    """A task whose process has ended.

    `code`: its exit code; 128 + n if signal n killed it. `reason`: more about it, from a scheduler say;
    used if the job wrote no record of its end.
    """

    number: int
    code: int
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the keys of a run ask of an executor.

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

    """

    side_by_side: int = 1

    @abstractmethod
    def free(self) -> int:
        """How many more tasks can be started now."""

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

    def close(self) -> None:  # noqa: B027  most have nothing to release
        """Release what the executor holds. Every task has ended, or a second signal arrived."""
