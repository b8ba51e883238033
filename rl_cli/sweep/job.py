"""A job of a sweep, and what is known about it while the sweep runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_cli import algos
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.core import devices
from rl_cli.core.errors import BadInput
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
            error.where = f"{error.where} (job {number}; none was started)"
            raise
        return cls(number, cfg, config, labels, list(overrides))

    def digest(self) -> str:
        """Hash of the configuration, equal for jobs that would give the same run."""
        content = {k: v for k, v in self.config.items() if k not in HOW} | {
            "labels": self.labels[:2]
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


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
        job.own = [o.lstrip("+") for o in job.overrides if plain_word(o) not in common]
    shared = jobs[0].overrides if jobs else []
    return [word.lstrip("+") for word in shared if plain_word(word) in common]


def plain_word(override: str) -> str:
    """An override in one of the forms that sweepers write: `False` or `false`, quoted or not, with `++` or not."""
    return override.lstrip("+").replace("\\", "").lower()


WAITING, RUNNING = "waiting", "running"


@dataclasses.dataclass
class JobState:
    """A job while the sweep runs. Only the sweep changes it.

    Attributes:
        job: as composed.
        path: of its record.
        record: the last one known.
        state: waiting, running, or as of the run at its end.
        folder: of the run; empty: it has not started.
        attempts: how often it was started.
        began: when it was started last, by time.monotonic.
        began_at: the step from which it went on then.
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
