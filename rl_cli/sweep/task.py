"""What a process needs to know to run one job; plain values, which JSON can represent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rl_cli.config.labels import Labels


@dataclasses.dataclass(frozen=True)
class Task:
    """One job for an executor. Run again, it continues from the last checkpoint in `folder`.

    Args:
        config: of the run, with `run_dir` and `resume`.
        labels: of the run.
        concurrent: how many jobs run on this machine at the same time, which share its memory.
        record: the fields of the job's record that are known before it starts.
        path: of the record, absolute.
        folder: of the run, relative to `start` or absolute.
        start: the folder in which the sweep was started, absolute.
        output: file to which the job's standard output and error are appended; empty: they are kept.
        environment: variables to set in the process.

    """

    config: dict[str, Any]
    labels: Labels
    concurrent: int
    record: dict[str, Any]
    path: str
    folder: str
    start: str
    output: str = ""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As plain values; `of` reads them."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Task:
        """From the values that `plain` gave."""
        return cls(**{**fields, "labels": Labels.of(fields["labels"])})
