"""Weights & Biases. Project, entity, mode and key come from its own settings too: WANDB_MODE=offline, ..."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli.tracking.trackers.base import TrackedRun


class WandbTracker:
    """One run of wandb. Its files are below `wandb/` in the current folder.

    Not in the run folder: wandb makes links, and a folder with links is not resumed.
    """

    def __init__(self) -> None:
        import wandb

        self.wandb: Any = wandb
        self.run: Any = None

    def start(self, run: TrackedRun) -> str:
        run_id = run.id or uuid.uuid4().hex[:12]
        self.run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.project),
            name=os.environ.get("WANDB_NAME", run.name),
            id=run_id,
            resume="allow",
            config=dict(run.config),
            settings=self.wandb.Settings(console="off", silent=True),
        )
        # a video arrives when later rows have been logged; wandb's own step would drop it
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")
        return run_id

    def log(self, step: int, row: Mapping[str, float]) -> None:
        self.run.log({"step": step, **row})

    def video(self, step: int, name: str, path: Path) -> None:
        self.run.log({"step": step, name: self.wandb.Video(str(path), format="mp4")})

    def finish(self, state: str) -> None:
        self.run.summary["state"] = state
        self.run.finish(exit_code=1 if state == "failed" else 0)
