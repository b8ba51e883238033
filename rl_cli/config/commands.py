"""TODO."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import (
    Folder,
    Int,
    schema,
)


@schema
class ReplayConfig:
    """What rl-eval is asked to do."""

    run: Folder | None = Field(description="run folder, or one checkpoint folder in it")
    checkpoint: Int | str = Field(description="best, latest, or a step number")
    episodes: Int = Field(ge=1, description="episodes to play")
    seed: Int = Field(ge=0, description="episode i is reset with seed + i")
    greedy: bool = Field(description="most likely action; false: sampled from the policy")
    video: bool = Field(description="record the first video_episodes episodes as mp4")
    video_episodes: Int = Field(ge=1, description="episodes recorded with video=true")
    render: Literal["none", "human"] = Field(description="human: open a window")
    device: Literal["auto", "cpu", "cuda"] = Field(description="where the networks live")
    output: Folder | None = Field(
        description="folder for evaluation.json and videos; null: by name"
    )
    env: dict[str, Any] = Field(
        description="env keys that replace the run's own, e.g. env.kwargs.*"
    )


@schema
class PlayConfig:
    """What rl-play is asked to do."""

    seed: Int = Field(ge=0, description="episode i is reset with seed + i")
    episodes: Int = Field(ge=0, description="episodes to play; 0: until the window is closed")
    fps: float | None = Field(gt=0, description="steps a second; null: as the env would have it")
    record: bool = Field(description="write each episode as mp4, and all transitions as a file")
    output: Folder | None = Field(description="folder of what is recorded; null: runs/play/<env>/…")
    env: EnvConfig
