"""Jobs as tasks of Ray (`pip install "rl-cli[ray]"`), on this machine or on a cluster.

A task runs on a worker of Ray, which starts the run in a child process (`Attempt`). If Ray loses the worker
or its machine, it runs the task on another one, where the run continues from its last checkpoint.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli.core.errors import BadInput, first_line
from rl_cli.storage import folder_lock
from rl_cli.sweep import records
from rl_cli.sweep.attempt import Attempt
from rl_cli.sweep.executor import KILLED, Ended, Executor, Wanted
from rl_cli.sweep.task import Task

STOPPED = 128 + signal.SIGTERM

OWN = "local"
"""Ray's word for a cluster of this process's own, on this machine."""

SAVE_SECONDS, LONGEST_SAVE = 5.0, 60.0
"""How long to wait for a run that lost its worker: at least, and if its process is seen on this machine."""

MANY = 10_000
"""Tasks handed to Ray at a time; Ray queues those for which it has no resources."""


def run_task(task: Mapping[str, Any]) -> int:
    """One attempt at a job on a worker of Ray. -> exit code."""
    attempt = Attempt(task, f"Ray worker {os.getpid()} on {socket.gethostname()}")
    try:
        return attempt.run()
    except KeyboardInterrupt:  # `ray.cancel`
        attempt.stop()
        return STOPPED


class RayExecutor(Executor):
    """Submits tasks to Ray, and waits for them.

    Args:
        ray: the module, initialized.
        options: of each task (`ray.remote`).
        jobs: at a time; 1: as many as Ray has resources for.
        side_by_side: tasks at a time on one machine.

    """

    def __init__(self, ray: Any, options: Mapping[str, Any], jobs: int, side_by_side: int) -> None:
        self.ray, self.most, self.side_by_side = ray, jobs if jobs > 1 else MANY, side_by_side
        self.remote = ray.remote(**options)(run_task)
        self.running: dict[int, tuple[Any, Path]] = {}  # number -> reference, path of the record

    def free(self) -> int:
        return self.most - len(self.running)

    def described(self, count: int) -> str:
        return "on Ray" if self.most == MANY else f"on Ray, at most {self.most} at a time"

    def start(self, number: int, task: Task) -> None:
        self.running[number] = self.remote.remote(task.plain()), Path(task.path)

    def wait(self, seconds: float) -> list[Ended]:
        numbers = {reference: number for number, (reference, _) in self.running.items()}
        if not numbers:
            return []
        self.ray.wait(list(numbers), timeout=seconds)  # for the first
        done, _ = self.ray.wait(list(numbers), num_returns=len(numbers), timeout=0)
        ended = [self._ended(numbers[reference], reference) for reference in done]
        for end in ended:
            del self.running[end.number]
        return ended

    def is_queued(self, number: int) -> bool:
        return not records.load(self.running[number][1]).get("where")

    def send(self, number: int, signum: int) -> None:
        if number in self.running:
            self.ray.cancel(self.running[number][0], force=False)

    def close(self) -> None:
        self.ray.shutdown()

    def _ended(self, number: int, reference: Any) -> Ended:
        errors = self.ray.exceptions
        try:
            return Ended(number, int(self.ray.get(reference)))
        except errors.TaskCancelledError:
            self._wait_for_record(number)
            return Ended(number, STOPPED)
        except errors.RayError as error:
            self._wait_for_record(number)
            return Ended(number, *self._reason(error))

    def _reason(self, error: Exception) -> tuple[int, str]:
        """Exit code and reason of a task that Ray could not finish."""
        errors = self.ray.exceptions
        if isinstance(error, errors.OutOfMemoryError):
            return KILLED, "Ray ended its worker: out of memory"
        if isinstance(error, (errors.WorkerCrashedError, errors.NodeDiedError)):
            return KILLED, f"Ray lost its worker: {first_line(error)}"
        return 1, f"Ray: {first_line(error)}"

    def _wait_for_record(self, number: int) -> None:
        """Wait for a run that has started: it ends after its worker, and saves before if it can."""
        began, path = time.monotonic(), self.running[number][1]
        while (record := records.load(path)).get("where") and record["state"] == "running":
            owner = folder_lock.holder(Path(record["start"], record["run_dir"]))
            is_seen = owner is not None and owner.is_on_this_host() and not owner.is_gone()
            if time.monotonic() - began > (LONGEST_SAVE if is_seen else SAVE_SECONDS):
                break
            time.sleep(0.1)


def make(settings: Mapping[str, Any], wanted: Wanted) -> RayExecutor:
    """The executor, connected to Ray.

    Raises:
        BadInput: Ray is not installed, cannot be reached, or has not the resources of one job.

    """
    if wanted.gpus:
        raise BadInput(
            "Ray chooses the GPUs", f"gpus={','.join(wanted.gpus)}", "hydra.launcher.num_gpus=1"
        )
    address = settings["address"] or os.environ.get("RAY_ADDRESS") or OWN
    ray = _connected(address, settings)
    there, options = ray.cluster_resources(), _options(settings)
    _require_resources(there, options)
    share = int(there.get("CPU", 1.0) / max(settings["num_cpus"], 0.01)) if address == OWN else 1
    return RayExecutor(ray, options, wanted.jobs, max(share, 1))


def _connected(address: str, settings: Mapping[str, Any]) -> Any:
    """The module ray, initialized. Its environment variables are read when it is imported."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == OWN:  # with a token in memory: Ray would write one into the home folder
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        os.environ.setdefault("RAY_task_oom_retries", str(settings["max_retries"]))
    try:
        import ray
    except ImportError as error:
        typed = "hydra/launcher=ray"
        raise BadInput(
            f"{typed} needs Ray ({error})", typed, 'pip install "rl-cli[ray]"'
        ) from error
    options = {"include_dashboard": False} if address == OWN else {}
    environment = settings["runtime_env"] or None
    try:
        ray.init(
            address, log_to_driver=False, logging_level="ERROR", runtime_env=environment, **options
        )
    except Exception as error:  # of any kind
        raise BadInput(
            f"Ray cannot be reached: {first_line(error)}",
            f"hydra.launcher.address={address}",
            "the address of a running cluster, or none for this machine",
        ) from error
    _silence()
    return ray


def _silence() -> None:
    """Keep Ray from printing the log of a machine that it lost. The switch is that of Ray's debugger."""
    worker = sys.modules.get("ray._private.worker")
    if worker is not None:
        vars(worker)["_worker_logs_enabled"] = False


def _options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `ray.remote`."""
    options = {k: settings[k] for k in ("num_cpus", "num_gpus", "max_retries", "resources")}
    if settings["memory_gb"] is not None:
        options["memory"] = int(settings["memory_gb"] * 1e9)
    return options


def _require_resources(there: Mapping[str, float], options: Mapping[str, Any]) -> None:
    """Refuse jobs that would wait for ever. The sum over all machines is compared."""
    wanted = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], **options["resources"]}
    for name, amount in wanted.items():
        if amount > there.get(name, 0.0):
            key = {"CPU": "num_cpus", "GPU": "num_gpus"}.get(name, f"resources.{name}")
            raise BadInput(
                f"a job needs {amount:g} {name}, and Ray has {there.get(name, 0.0):g} in all",
                f"hydra.launcher.{key}={amount:g}",
                "fewer, or a larger cluster: hydra.launcher.address=<address>",
            )
