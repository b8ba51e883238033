"""Works on the trials of a study until all have ended: starts runs, watches them, stores the results."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rl_cli.core import processes
from rl_cli.core.errors import BadInput, StorageError, plain
from rl_cli.report.run_data import read_run
from rl_cli.search import objective
from rl_cli.search.active import Active
from rl_cli.search.plan import Plan
from rl_cli.search.run_processes import RunProcesses
from rl_cli.search.trials import RunResult, Trials, is_over, label, results, save
from rl_cli.storage import folder_lock, run_folder
from rl_cli.storage.policy_only import drop_buffers
from rl_cli.sweep import records
from rl_cli.sweep.executor import Ended
from rl_cli.sweep.task import Task

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

POLL_SECONDS = 0.25

IDLE_SECONDS = 1.0
"""Between two looks at the study while another process runs the last trials."""

STORAGE = 4
"""Exit code of a run that could not write its files."""

MAX_RESTARTS = 2
"""How often a run whose process was killed continues from its checkpoint."""


class Part(Protocol):
    """The trials of one study: their seeds, values, folders and ends."""

    @property
    def trials(self) -> Trials: ...

    def seeds(self, trial: int) -> list[int]:
        """Of the runs of a trial, by its label."""

    def values(self, trial: Trial) -> Mapping[str, Any]:
        """The keys that a trial sets."""

    def folder(self, trial: int, seed: int) -> str:
        """Name of a run's folder."""

    def stops(self, trial: int, result: RunResult) -> str | None:
        """Why a run should end now; called after each evaluation."""

    def add(self, trial: Trial, result: RunResult) -> str | None:
        """A run is complete. -> why the trial should end."""

    def finish(self, trial: Trial, runs: list[RunResult]) -> None:
        """All runs of a trial are complete."""


class Observer(Protocol):
    """Shows the progress of a search."""

    def started(self, trial: int, seed: int) -> None: ...

    def ended(self, trial: int, text: str) -> None: ...

    def refresh(self, active: list[Active], trials: list[FrozenTrial]) -> None: ...


class Worker:
    """Works on one part of a search with the processes it is given.

    Args:
        plan: of the search.
        part: the trials.
        runs: processes for the runs.
        observer: shows the progress.

    """

    def __init__(self, plan: Plan, part: Part, runs: RunProcesses, observer: Observer) -> None:
        self.plan, self.part, self.runs, self.observer = plan, part, runs, observer
        self.trials = part.trials
        self.active: list[Active] = []
        self.looked = 0.0

    def work(self) -> bool:
        """Work until all trials have ended. False: a stop signal arrived.

        Raises:
            StorageError: a run or the study could not be written.

        """
        try:
            while True:
                self._take_ended()
                if self.runs.signum is not None:
                    return False
                self._watch()
                self._advance()
                self.trials.beat()
                if self._fill():
                    return True
                time.sleep(POLL_SECONDS)
        finally:
            self._leave()

    def _fill(self) -> bool:
        """Take trials while there are free processes. -> whether all trials of the study have ended."""
        free = len(self.active) < self.plan.jobs
        if free and time.monotonic() - self.looked > IDLE_SECONDS:
            while len(self.active) < self.plan.jobs:
                if (trial := self.trials.take()) is None:
                    self.looked = time.monotonic()
                    break
                self._begin(trial)
        every = self.trials.every()
        self.observer.refresh(self.active, every)
        return not self.active and is_over(every, self.trials.limit)

    def _begin(self, trial: Trial) -> None:
        number = label(trial)
        try:
            config = self.plan.configure(self.part.values(trial))
        except BadInput as error:
            reason = f"refused: {plain(error.what)}"
            self.trials.fail(trial, reason)
            self.observer.ended(number, reason)
            return
        frozen = self.trials.study._storage.get_trial(trial._trial_id)
        done = {s: r for s, r in results(frozen).items() if r.state == "completed"}
        left = [seed for seed in self.part.seeds(number) if seed not in done]
        active = Active(trial, number, config, left)
        self.active.append(active)
        for result in done.values():  # of a process that was killed
            self.part.add(trial, result)
            active.complete(result)
        self._next(active)

    def _next(self, active: Active) -> None:
        """Go on with the next seed, or end the trial."""
        if not active.left:
            runs = [active.done[seed] for seed in sorted(active.done)]
            self.active.remove(active)
            self.part.finish(active.trial, runs)
            self.observer.ended(active.number, "")
            return
        seed = active.left.pop(0)
        folder = self._folder(active.number, seed)
        active.begin(RunResult(seed, "running", str(folder)))
        self.observer.started(active.number, seed)

    def _folder(self, number: int, seed: int) -> Path:
        return self.plan.folder / "runs" / self.part.folder(number, seed)

    def _advance(self) -> None:
        """Start the runs that wait."""
        for active in self.active:
            if active.run is not None and active.process is None:
                self._start(active, active.run)

    def _start(self, active: Active, run: RunResult) -> None:
        folder = Path(run.folder)
        if folder_lock.is_held(folder):  # by a run of a killed process: it saves a checkpoint
            return
        config = {**active.config, "seed": run.seed, "quiet": True, "jobs": 1}
        if (folder / "config.yaml").exists():
            config["resume"] = str(folder)
        else:
            config["run_dir"] = str(folder)
        task = Task(
            config=config,
            labels=self.plan.labels,
            concurrent=self.runs.side_by_side,
            record={"seed": run.seed, "run_dir": str(folder), "overrides": []},
            path=str(_record_of(folder).absolute()),
            folder=str(folder),
            start=str(Path.cwd()),
            output=str(folder.with_name(f"{folder.name}.log").absolute()),
        )
        folder.parent.mkdir(parents=True, exist_ok=True)
        _record_of(folder).unlink(missing_ok=True)
        active.started(self.runs.start(task))

    def _watch(self) -> None:
        """Read new evaluations, and end runs that are pruned."""
        for active in self.active:
            run = active.run
            if run is None or active.process is None or active.pruned is not None:
                continue
            if not active.is_new(_size(Path(run.folder) / "eval.csv")):
                continue
            try:
                curve = objective.curve_of(read_run(Path(run.folder)))
            except BadInput:  # it is being written
                continue
            if len(curve) > len(run.curve):
                run = dataclasses.replace(run, curve=curve)
                active.extend(run)
                save(active.trial, run)
                if (reason := self.part.stops(active.number, run)) is not None:
                    active.prune(reason)
                    self.runs.stop(active.process)

    def _take_ended(self) -> None:
        ended = self.runs.poll()
        for active in list(self.active):
            if active.process is not None and active.process in ended:
                end = ended[active.process]
                active.process_ended()
                if self.runs.signum is None or end.code == 0:
                    self._ended(active, end)

    def _ended(self, active: Active, end: Ended) -> None:
        """The process of a run has ended."""
        run = active.run
        assert run is not None
        folder, code = Path(run.folder), end.code
        record = records.load(_record_of(folder))
        reason = str(record.get("reason", "")) or end.reason or f"exit code {code}"
        if code == STORAGE:
            raise StorageError(reason, str(folder), "free disk space, and repeat the command")
        if code == 0:
            self._complete(active, self._judge(run, "completed", ""))
        elif active.pruned is not None and code - 128 in processes.STOP_SIGNALS:
            self._prune(active, folder, active.pruned)
        elif code > 128 and active.restarts < MAX_RESTARTS:
            active.restart()  # at the next `_advance`
        else:
            self._fail(active, code, reason)

    def _judge(self, run: RunResult, state: str, reason: str) -> RunResult:
        return objective.judge(Path(run.folder), run.folder, run.seed, self.plan, state, reason)

    def _complete(self, active: Active, result: RunResult) -> None:
        save(active.trial, result)
        active.complete(result)
        reason = self.part.add(active.trial, result)
        if reason is not None and active.left:
            self._end(active, reason)
        else:
            self._next(active)

    def _prune(self, active: Active, folder: Path, reason: str) -> None:
        assert active.run is not None
        status = run_folder.read_status(folder)
        written = {k: v for k, v in status.items() if k not in ("pid", "updated", "exit_code")}
        run_folder.write_status(folder, **written | {"state": "pruned", "reason": reason})
        if not active.config["checkpoint"]["keep_buffer"]:
            drop_buffers(folder / "checkpoints")
        result = self._judge(active.run, "pruned", reason)
        save(active.trial, result)
        self.part.add(active.trial, result)
        self._end(active, reason)

    def _fail(self, active: Active, code: int, reason: str) -> None:
        assert active.run is not None
        text = f"seed {active.run.seed} failed: {plain(reason)}"
        save(active.trial, dataclasses.replace(active.run, state="failed", reason=reason))
        self.active.remove(active)
        if code == 3:  # not finite: these parameters diverge
            self.trials.prune(active.trial, text)
        else:
            self.trials.fail(active.trial, text)
        self.observer.ended(active.number, text)

    def _end(self, active: Active, reason: str) -> None:
        self.active.remove(active)
        self.trials.prune(active.trial, reason)
        self.observer.ended(active.number, reason)

    def _leave(self) -> None:
        """Stop what runs, and leave its trials to the next process."""
        for active in self.active:
            if active.process is not None:
                self.runs.stop(active.process)
        if self.active:
            with contextlib.suppress(Exception):  # the storage failed, which is reported already
                self.trials.release()


def _record_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
