"""What rl-train does with a composed configuration: one run, or the jobs of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli import algos
from rl_cli.cli import compose
from rl_cli.cli.arguments import value_of
from rl_cli.cli.job_config import JobConfig
from rl_cli.cli.sweepers import JobFailed
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.run import RunConfig
from rl_cli.core import processors, terminal
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.stop_signals import StopRequest

if TYPE_CHECKING:
    from rl_cli.sweep.executor import Executor, Wanted
    from rl_cli.sweep.job import Job, JobState
    from rl_cli.training.outcome import Outcome


class TrainTask:
    """Hydra's task function: runs a single run. Our launchers call `run_jobs` with the jobs of a sweep.

    Other launchers call it once per job, in a process of theirs.

    Args:
        folder: of the sweep.
        sweeps: False: refuse a sweep.

    Attributes:
        outcome: of a single run.
        exit_code: of the run; of a sweep, 128 + n after signal n, else 0.
        left: lines about jobs that continue after a stop signal.

    """

    def __init__(self, folder: Path, sweeps: bool = True) -> None:
        self.folder, self.sweeps, self.exit_code = folder, sweeps, 0
        self.outcome: Outcome | None = None
        self.left: list[str] = []
        self.notes: set[str] = set()  # printed so far
        self.has_run = False  # jobs of a sweep, in this process

    def __call__(self, cfg: Any) -> float | None:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        words = compose.as_typed(hydra.overrides.task)
        if hydra.mode == RunMode.MULTIRUN:
            self._refuse_sweep(words)
            return self._run_here(JobConfig.of(int(hydra.job.num), cfg, hydra, words))
        found = JobConfig.of(0, cfg, hydra, words)
        if (
            found.values.get("threads") == "auto"
        ):  # recorded as a number, so that the run resumes with it
            found.values["threads"] = processors.share(1)
        run_cfg = algos.build_run_config(found.values)
        self._check_overrides(run_cfg, words)
        for key, none in {"jobs": 1, "retries": 0, "gpus": ()}.items():
            if (value := value_of(words, key)) is not None and getattr(run_cfg, key) != none:
                terminal.warn(f"note: {key}={value} has no effect without a sweep: -m or sweep=")
        if (launcher := hydra.runtime.choices["hydra/launcher"]) != "local":
            terminal.warn(
                f"note: hydra/launcher={launcher} has no effect without a sweep: -m or sweep="
            )
        from rl_cli.training.experiment import train

        self.outcome = train(run_cfg, found.values, found.labels())
        self.exit_code = self.outcome.exit_code
        return self.outcome.eval_return

    def stopped_by(self, signum: int) -> None:
        """A signal ended the command; the exit code of a sweep that it ended first stays."""
        self.exit_code = self.exit_code or 128 + signum

    def run_jobs(
        self,
        found: Sequence[JobConfig],
        typed: Sequence[str],
        executor: Callable[[Wanted], Executor],
    ) -> list[float | Exception]:
        """Check all jobs, then run them. -> the return of each, or an exception that says how it ended.

        Args:
            found: the composed jobs.
            typed: words of the command line.
            executor: makes the executor.

        Raises:
            BadInput: a job is refused, and none was started; another process uses the folder.
            StopRequest: a stop signal ended the sweep.

        """
        from rl_cli.storage.folder_lock import FolderLock
        from rl_cli.sweep.job import name_all

        self._refuse_sweep(typed)
        jobs = [self._job(one) for one in found]
        if (run_dir := jobs[0].cfg.run_dir) is not None:
            raise compose.one_folder(run_dir)
        common = name_all(jobs, typed)
        with FolderLock.take(self.folder):
            ended = self._run(jobs, common, executor)
        if self.exit_code:
            raise StopRequest(self.exit_code - 128)
        return [_result(ended[job.number]) for job in jobs]

    def _run(
        self, jobs: list[Job], common: list[str], executor: Callable[[Wanted], Executor]
    ) -> dict[int, JobState]:
        from rl_cli.sweep.executor import Wanted
        from rl_cli.sweep.sweep import Sweep
        from rl_cli.sweep.view import make_view, say_start

        cfg = jobs[0].cfg
        tensorboard = any(job.cfg.log.tensorboard for job in jobs)
        size = min(max(cfg.jobs, len(cfg.gpus)), len(jobs))
        made = executor(Wanted(size, self.folder, cfg.gpus, tensorboard))
        if cfg.shown != "none" and not self.has_run:  # a sweeper may run several batches
            say_start(self.folder, len(jobs), made.described(len(jobs)), common)
        _note_threads(cfg.threads, made.side_by_side)
        _note_gpus(jobs)
        sweep = Sweep(self.folder, made, make_view(cfg.shown), cfg.retries)
        self.has_run = True
        sweep.run(jobs)
        self.exit_code, self.left = sweep.exit_code, sweep.left
        return sweep.states

    def _job(self, found: JobConfig) -> Job:
        from rl_cli.sweep.job import Job

        job = Job.of(found.number, found.values, found.labels(), found.overrides)
        self._check_overrides(job.cfg, found.overrides)
        return job

    def _run_here(self, found: JobConfig) -> float | None:
        """Run one job that another launcher started."""
        from rl_cli.sweep.executor import Wanted
        from rl_cli.sweep.local_executor import make
        from rl_cli.sweep.sweep import Sweep
        from rl_cli.sweep.view import QuietView

        job = self._job(found)
        tensorboard = job.cfg.log.tensorboard
        sweep = Sweep(
            self.folder, make(Wanted(1, self.folder, tensorboard=tensorboard)), QuietView()
        )
        sweep.run([job])
        if sweep.exit_code:
            self.exit_code = sweep.exit_code
            raise StopRequest(sweep.exit_code - 128)  # it stops the whole sweep, not only this job
        result = _result(sweep.states[job.number])
        if isinstance(result, Exception):
            raise result
        return result

    def _refuse_sweep(self, words: Sequence[str]) -> None:
        if not self.sweeps:
            fix = "one run per call: use a loop in Python"
            raise BadInput("these are several runs", " ".join(words), fix)

    def _check_overrides(self, cfg: RunConfig, words: list[str]) -> None:
        _refuse_no_learning(cfg, words)
        self._note_without_effect(cfg.algo, words)

    def _note_without_effect(self, algo: AlgoConfig, words: list[str]) -> None:
        """Print once which typed keys have no effect; in a sweep this may be intended."""
        typed = {word.lstrip("+").split("=", 1)[0] for word in words}
        for key, others in algo.without_effect().items():
            note = f"note: {key} has no effect with {others}"
            if key in typed and note not in self.notes:
                self.notes.add(note)
                terminal.warn(plain(note))


def _note_threads(threads: int | str, jobs: int) -> None:
    """Say that jobs will slow each other down, if they have more threads than there are processors."""
    there = processors.available()
    if isinstance(threads, int) and threads > 1 and threads * jobs > there:
        terminal.warn(
            f"note: {jobs} jobs of threads={threads} share {there} processors; threads=auto divides them"
        )


def _note_gpus(jobs: Sequence[Job]) -> None:
    """Say that jobs see a GPU each and may not use it."""
    devices = {job.cfg.device for job in jobs}
    if jobs[0].cfg.gpus and devices <= {"auto", "cpu"}:
        use = "for networks of images only" if "auto" in devices else "for nothing"
        device = "auto" if "auto" in devices else "cpu"
        terminal.warn(
            f"note: device={device} uses the GPU of a job {use}; device=cuda for all networks"
        )


def _result(state: JobState) -> float | Exception:
    """The return of a job, or an exception that says how it ended."""
    if state.state == "completed" and state.eval_return is not None:
        return state.eval_return
    reason = "it has no evaluation" if state.state == "completed" else state.record["reason"]
    return JobFailed(f"job {state.number} {state.state}: {reason}")


def _refuse_no_learning(cfg: RunConfig, words: list[str]) -> None:
    """Raise BadInput if a typed algo.learning_starts is beyond the budget.

    With a short budget alone, as in a quick trial, the run goes ahead without learning.
    """
    typed = value_of(words, "algo.learning_starts")
    starts = getattr(cfg.algo, "learning_starts", 0)
    if typed and starts >= cfg.total_timesteps:
        raise BadInput(
            "no update would happen: the budget ends before learning starts",
            f"algo.learning_starts={typed} total_timesteps={cfg.total_timesteps}",
            "a smaller algo.learning_starts, or a larger total_timesteps",
        )
