"""Keys of rl-eval, rl-play, rl-export, rl-report and rl-runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rl_cli.config.env import EnvConfig
from rl_cli.config.run import Display
from rl_cli.config.schema import Device, Folder, Int, schema


@schema
class ReplayConfig:
    """Keys of rl-eval."""

    run: Folder | None = Field(description="run folder, or one of its checkpoint folders")
    checkpoint: Int | str = Field(description="best, latest, or a step number")
    episodes: Int = Field(ge=1, description="episodes to evaluate")
    seed: Int = Field(ge=0, description="episode i is reset with seed + i")
    greedy: bool = Field(description="most likely action; false: action sampled from the policy")
    video: bool = Field(description="record the first video_episodes episodes as mp4")
    video_episodes: Int = Field(ge=1, description="episodes recorded with video=true")
    render: Literal["none", "human"] = Field(description="human: show the env in a window")
    device: Device = Field(description="device of the networks")
    display: Display = Field(
        description="auto, live: a table; plain: lines of text; none: warnings and errors only"
    )
    output: Folder | None = Field(
        description="folder for evaluation.json and videos; null: runs/evals/<name>"
    )
    jobs: Int | None = Field(
        ge=1, le=256, description="runs evaluated at the same time; null: one per processor"
    )
    env: dict[str, Any] = Field(
        description="env keys that replace those of the run, e.g. env.kwargs.*"
    )


@schema
class PlayConfig:
    """Keys of rl-play."""

    seed: Int = Field(ge=0, description="episode i is reset with seed + i")
    episodes: Int = Field(ge=0, description="episodes to play; 0: until the window is closed")
    fps: float | None = Field(gt=0, description="steps per second; null: the env's render_fps")
    record: bool = Field(
        description="write each episode as mp4, and all transitions as a safetensors file"
    )
    output: Folder | None = Field(description="folder for recordings; null: runs/play/<env>/…")
    env: EnvConfig


@schema
class ExportConfig:
    """Keys of rl-export."""

    run: Folder | None = Field(description="run folder, or one of its checkpoint folders")
    format: str | None = Field(description="formats to write, separated by commas")
    checkpoint: Int | str = Field(description="best, latest, or a step number")
    output: Folder | None = Field(
        description="folder to write into; null: runs/exports/<run>_step<n>"
    )
    observations: Int = Field(
        ge=1, description="recorded observations on which the export is compared with the policy"
    )
    seed: Int = Field(
        ge=0, description="seed of the first episode of hub and minari; then seed + i"
    )
    env: dict[str, Any] = Field(
        description="env keys that replace those of the run, e.g. env.kwargs.*"
    )


@schema
class ReportConfig:
    """Keys of rl-report."""

    output: Folder | None = Field(
        description="folder of report.html and report.csv; null: the folder given"
    )
    threshold: float | None = Field(
        description="return that counts as success; null: that of the runs"
    )
    pictures: bool | None = Field(
        description="write the charts as PNG; null: if matplotlib is installed"
    )


@schema
class RunsConfig:
    """Keys of rl-runs; null: no filter."""

    algo: str | None = Field(description="only runs of this algorithm")
    env: str | None = Field(description="only runs of this env")
    state: (
        Literal["running", "completed", "interrupted", "failed", "died", "pruned", "unknown"] | None
    ) = Field(description="only runs in this state")
    min_return: float | None = Field(description="only runs with at least this final return")
    max_return: float | None = Field(description="only runs with at most this final return")
    sort: Literal["name", "return", "size"] | None = Field(description="order; null: by name")
    last: Int | None = Field(ge=1, description="only the last n of the sorted list")
    yes: bool | None = Field(description="delete without a question")
