"""How a run ended, and what is printed about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rl_cli.config.run import RunConfig
from rl_cli.core import terminal
from rl_cli.core.command_line import argument, override, pasted
from rl_cli.core.start_folder import path_here, relative
from rl_cli.envs import trust
from rl_cli.storage import run_folder
from rl_cli.storage.manifest import best_step
from rl_cli.storage.policy_only import has_state
from rl_cli.tracking.console import say_fitted
from rl_cli.tracking.formatting import (
    describe,
    describe_training,
    duration,
    number,
    size,
    success_means,
)
from rl_cli.tracking.statistics import Summary


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    `exit_code`: 0 completed, 2 bad input, 3 not finite, 4 storage failed, 130/143 stopped by a signal.
    """

    exit_code: int
    state: str
    reason: str
    step: int = 0
    run_dir: str = ""
    eval_return: float | None = None
    seconds: float = 0.0


def already_complete(folder: Path, cfg: RunConfig) -> Outcome:
    """The outcome of resuming a run that is complete. Prints how to continue it with a larger budget."""
    status = run_folder.read_status(folder)
    if cfg.shown != "none":
        by_episodes = str(status.get("reason")).startswith("total_episodes")
        longer = "total_episodes" if by_episodes else "total_timesteps"
        terminal.say(f"this run is complete: {relative(folder)}")
        if has_state(folder):
            resume = pasted("rl-train", override("resume", path_here(folder)))
            terminal.say(f"longer:  {resume} {longer}=<more>")
    step, value = status.get("step"), status.get("eval_return")
    return Outcome(
        0,
        "completed",
        "was complete",
        step if isinstance(step, int) else 0,
        str(folder),
        float(value) if isinstance(value, float) else None,  # json writes a mean as 500.0
    )


def print_interrupted(cfg: RunConfig, folder: Path, signal_name: str, step: int) -> None:
    """Print which signal stopped the run, and the command that resumes it."""
    terminal.say(f"stopped by {signal_name} at step {step:,}; the checkpoint is saved")
    words = (override("resume", path_here(folder)), *trust.required_arguments(cfg.env))
    terminal.say(f"resume:  {pasted('rl-train', *words)}")


def print_completed(
    cfg: RunConfig,
    folder: Path,
    outcome: Outcome,
    summary: Summary,
    best_return: float,
    training: dict[str, float],
    draws_images: bool,
) -> None:
    """Print the results, and the commands that replay the policy and show the curves.

    The command for a video is left out if the env renders no images, or the run could not render one.
    """
    here = path_here(folder)
    why = "" if outcome.reason == "budget" else f" ({outcome.reason})"
    lines = [f"done: {outcome.step:,} steps in {duration(outcome.seconds)}{why}"]
    lines.append(f"final:   {describe(summary)}{success_means(summary)}")
    if (step := best_step(folder / "checkpoints")) is not None:
        is_last = "the last one" if step == outcome.step else f"at step {step:,}"
        lines.append(f"best:    eval return {number(best_return)}, {is_last}")
    if training:
        lines.append(f"trained: {describe_training(training)}")
    lines.append(f"folder:  {relative(folder)} ({size(run_folder.size_of(folder))})")
    for line in lines:
        say_fitted(line)
    words = (argument(here), *trust.required_arguments(cfg.env))
    terminal.say(f"replay:  {pasted('rl-eval', *words)}")
    if draws_images and (not cfg.video.episodes or any((folder / "videos").glob("*.mp4"))):
        terminal.say(f"record:  {pasted('rl-eval', *words, 'checkpoint=best', 'video=true')}")
    if cfg.log.tensorboard:
        shown = "runs" if here.startswith("runs/") else argument(here)
        terminal.say(f"curves:  {pasted('tensorboard', '--logdir', shown)}")
    _print_videos(folder / "videos")


def print_differences(differs: Sequence[str]) -> None:
    """Say that a run that was resumed may differ from an uninterrupted one."""
    if differs:
        count = f"{len(differs)} difference{'s' if len(differs) > 1 else ''}"
        say_fitted(f"exact:   no; {count} in `resumed` of status.json, the first: {differs[0]}")


def _print_videos(folder: Path) -> None:
    if videos := sorted(folder.glob("step_*.mp4")):
        terminal.say(f"video:   {relative(videos[-1])}")
    if videos := list(folder.glob("episode_*.mp4")):
        count = f"{len(videos)} training episode{'s' if len(videos) > 1 else ''}"
        terminal.say(f"videos:  {count} in {relative(folder)}")
