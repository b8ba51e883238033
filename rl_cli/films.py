"""The films that a run makes as it goes: which, of whom, and under which names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rl_cli import video
from rl_cli.config import RunConfig
from rl_cli.evaluation import Policy
from rl_cli.normalization import ObservationNormalizer
from rl_cli.types import Recording

Recorder = Callable[[int], str | None]
"""Films the policy at a step; a line to show when that is not possible."""
Filmer = Callable[[int, Recording], str | None]
"""Films a training episode of that number, likewise."""


def of_evaluation(
    cfg: RunConfig,
    normalizer: ObservationNormalizer | None,
    policy: Policy,
    folder: Path,
    interrupted: Callable[[], bool],
) -> Recorder:
    """Films of the first `video.episodes` evaluation episodes, at a step."""

    def film(step: int) -> str | None:
        names = [f"step_{step:09d}_episode_{i}.mp4" for i in range(cfg.video.episodes)]
        paths, how = [folder / name for name in names], cfg.eval
        try:
            video.record(cfg.env, normalizer, policy, paths, how.seed, how.greedy, interrupted)
        except video.VideoUnavailable as problem:
            return f"no videos: {problem}; training goes on without"
        return None

    return film


def of_training(cfg: RunConfig, folder: Path) -> Filmer:
    """A film of a training episode as it was, exploration and all."""

    def film(number: int, recording: Recording) -> str | None:
        try:
            video.play_again(cfg.env, recording, folder / f"episode_{number:06d}.mp4")
        except video.VideoUnavailable as problem:
            return f"no films of training episodes: {problem}; training goes on without"
        return None

    return film
