"""A job of a sweep, and what is known about it while the sweep runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from rl_cli import algos
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.core import devices
from rl_cli.core.errors import BadInput
from rl_cli.core.same_numbers import whole
from rl_cli.sweep.records import Record
from rl_cli.training.resume import HOW


@dataclasses.dataclass
class Job:
    """One combination of a sweep."""

    number: int
    cfg: RunConfig
    config: dict[str, Any]  # the same as composed, plain values
    labels: Labels
    overrides: list[str]
    own: list[str] = dataclasses.field(default_factory=list)  # overrides particular to the job

    @property
    def name(self) -> str:
        """The overrides particular to the job, as text."""
        return " ".join(self.own)

    @classmethod
    def of(
        cls, number: int, config: dict[str, Any], labels: Labels, overrides: Sequence[str]
    ) -> Job:
        """A job with its typed configuration.

        Raises:
            BadInput: what can be refused without making an env.

        """
        try:
            cfg = algos.build_run_config(config)
            devices.require_driver(cfg.device)
        except BadInput as error:
            error.qualify(f"(job {number}; none was started)")
            raise
        return cls(number, cfg, config, labels, list(overrides))

    def leave_out(self, common: Set[str]) -> None:
        """Take as `own` the overrides that are not among those of all jobs, in the form of `plain_word`."""
        self.own = [o.lstrip("+") for o in self.overrides if plain_word(o) not in common]

    def digest(self) -> str:
        """Hash of the configuration, equal for jobs that would give the same run."""
        return self._hash(whole(self._content()))

    def earlier_digest(self) -> str:
        """The hash in records of earlier versions, in which 500.0 is another number than 500."""
        return self._hash(self._content())

    def _content(self) -> dict[str, Any]:
        return {k: v for k, v in self.config.items() if k not in HOW}

    def _hash(self, content: dict[str, Any]) -> str:
        text = json.dumps(content | {"labels": self.labels[:2]}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def name_all(jobs: Sequence[Job], typed: Sequence[str]) -> list[str]:
    """Find the overrides that are particular to each job. -> the others.

    Args:
        jobs: of one sweep.
        typed: overrides that the command line gives to every job; they name the job where there is only one.

    """
    if len(jobs) > 1:
        common = set.intersection(*({plain_word(word) for word in job.overrides} for job in jobs))
    else:
        common = {plain_word(word) for word in typed}
    for job in jobs:
        job.leave_out(common)
    shared = jobs[0].overrides if jobs else []
    return [word.lstrip("+") for word in shared if plain_word(word) in common]


def plain_word(override: str) -> str:
    """An override in one of the forms that sweepers write: `False` or `false`, quoted or not, with `++` or not."""
    return override.lstrip("+").replace("\\", "").lower()


WAITING, RUNNING = "waiting", "running"


@dataclasses.dataclass
class JobState:
    """A job while the sweep runs.

    Attributes:
        job: as composed.
        path: of its record.
        record: the last one known.
        state: waiting, running, or as of the run at its end.
        folder: of the run; empty: it has not started.
        attempts: how often it was started.
        began: when it was started last, by time.monotonic.
        began_at: the step at which it continued then.
        step: env steps so far.
        eval_return: of the last evaluation; None: there is none yet.

    """

    job: Job
    path: Path
    record: Record
    state: str = WAITING
    folder: str = ""
    attempts: int = 0
    began: float = 0.0
    began_at: int = 0
    step: int = 0
    eval_return: float | None = None
    is_complete_before: bool = False  # by an earlier start of the sweep

    @property
    def number(self) -> int:
        return self.job.number

    def keep(self, record: Record) -> None:
        """Take a record as the last one known."""
        self.record = record

    def skip(self) -> None:
        """An earlier start of the sweep has completed the job."""
        self.state, self.is_complete_before = "completed", True
        self.folder, self.eval_return = self.record["run_dir"], self.record["eval_return"]

    def start(self, folder: str, step: int = 0) -> None:
        """A process runs the job in a run folder, from an env step: of the checkpoint that it resumes, or 0."""
        self.folder, self.state, self.step, self.began_at = folder, RUNNING, step, step
        self.attempts, self.began = self.attempts + 1, time.monotonic()

    def wait(self) -> None:
        """The job waits for its turn."""
        self.state = WAITING

    def advance(self, step: int, eval_return: float | None) -> None:
        """The run has made `step` env steps. `eval_return`: see `progress.read`; None: as before."""
        if self.state == WAITING:  # its turn has come
            self.state, self.began = RUNNING, time.monotonic()
        self.step = max(self.step, step)
        if eval_return is not None:
            self.eval_return = eval_return

    def end(self, record: Record) -> None:
        """The process has ended with this record."""
        self.record, self.state = record, record["state"]
        self.eval_return = record.get("eval_return")
        if isinstance(step := record.get("step"), int):
            self.step = max(self.step, step)
