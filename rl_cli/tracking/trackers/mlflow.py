"""MLflow. Its settings: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, ..."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli.tracking.trackers.base import TrackedRun

STATES = {"completed": "FINISHED", "interrupted": "KILLED"}
"""MLflow's names of states; all others failed."""

LONGEST = 500
"""Characters of a parameter that every store accepts."""

AT_ONCE = 100
"""Parameters of one request."""


class MlflowTracker:
    """One run of MLflow. The configuration is its parameters; videos are artifacts."""

    def __init__(self) -> None:
        import mlflow
        from mlflow import entities

        self.mlflow: Any = mlflow
        self.entities: Any = entities
        self.client: Any = None
        self.id = ""

    def start(self, run: TrackedRun) -> str:
        self.client = self.mlflow.MlflowClient()
        if run.id is not None:
            self.id = run.id
            self.client.update_run(run.id, status="RUNNING")
            return self.id
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", run.project)
        experiment = self.mlflow.set_experiment(project)
        found = self.client.create_run(experiment.experiment_id, run_name=run.name)
        self.id = found.info.run_id
        params = [self.entities.Param(k, str(v)[:LONGEST]) for k, v in run.config.items()]
        for first in range(0, len(params), AT_ONCE):
            self.client.log_batch(self.id, params=params[first : first + AT_ONCE])
        return self.id

    def log(self, step: int, row: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self.entities.Metric(name, value, now, step) for name, value in row.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def video(self, step: int, name: str, path: Path) -> None:
        self.client.log_artifact(self.id, str(path), "videos")

    def finish(self, state: str) -> None:
        self.client.set_terminated(self.id, STATES.get(state, "FAILED"))
