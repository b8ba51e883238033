"""What a tracker is given, and what it does with it. Used in the tracker's own process only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """A run, as a tracker sees it.

    Attributes:
        name: for its list of runs.
        project: which the run belongs to.
        folder: of the run.
        config: flat key -> number, string, bool or None.
        id: that the tracker gave to the run before it was interrupted; None: a new run.

    """

    name: str
    project: str
    folder: Path
    config: Mapping[str, Any]
    id: str | None


class Tracker(Protocol):
    """One destination. Its methods may raise anything, and take as long as they take."""

    def start(self, run: TrackedRun) -> str:
        """Begin, or continue the run `run.id`. -> the id to continue with."""

    def log(self, step: int, row: Mapping[str, float]) -> None:
        """A row of metrics or of an evaluation: tag -> value."""

    def video(self, step: int, name: str, path: Path) -> None:
        """A complete mp4 file."""

    def finish(self, state: str) -> None:
        """The run has ended: "completed", "interrupted" or "failed"."""
