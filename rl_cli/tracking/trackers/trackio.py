"""Trackio: the interface of wandb, with a local database. Its settings: TRACKIO_DIR, TRACKIO_SPACE_ID, ..."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli.tracking.trackers.base import TrackedRun


class TrackioTracker:
    """One run of trackio, which it continues by its name."""

    def __init__(self) -> None:
        import trackio

        self.trackio: Any = trackio
        self.run: Any = None

    def start(self, run: TrackedRun) -> str:
        name = run.id or f"{run.name}_{uuid.uuid4().hex[:4]}"  # a name is all that a run has
        self.run = self.trackio.init(
            project=run.project,
            name=name,
            resume="allow",
            config=dict(run.config),
            embed=False,
        )
        return name

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self.run.log(dict(row), step=step)

    def video(self, step: int, name: str, path: Path) -> None:
        self.run.log({name: self.trackio.Video(str(path), format="mp4")}, step=step)

    def finish(self, state: str) -> None:
        self.run.finish()
