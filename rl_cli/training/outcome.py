"""How a run ended, and what is printed about it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rl_cli.config.run import RunConfig
from rl_cli.envs import trust
from rl_cli.storage import run_folder
from rl_cli.tracking.formatting import describe, describe_training, duration, relative
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
        print(f"this run is complete: {relative(folder)}")
        print(f"longer:  rl-train resume={relative(folder)} {longer}=<more>")
    step, value = status.get("step"), status.get("eval_return")
    return Outcome(
        0,
        "completed",
        "was complete",
        step if isinstance(step, int) else 0,
        str(folder),
        float(value) if isinstance(value, int | float) else None,
    )


def print_interrupted(cfg: RunConfig, folder: Path, signal_name: str, step: int) -> None:
    """Print which signal stopped the run, and the command that resumes it."""
    here = relative(folder)
    print(f"stopped by {signal_name} at step {step:,}; the checkpoint is saved")
    print("resume:  rl-train", f"resume={here}", *trust.required_arguments(cfg.env))


def print_completed(
    cfg: RunConfig,
    folder: Path,
    outcome: Outcome,
    summary: Summary,
    best_return: float,
    training: dict[str, float],
) -> None:
    """Print the results, and the commands that replay the policy and show the curves."""
    here = relative(folder)
    why = "" if outcome.reason == "budget" else f" ({outcome.reason})"
    print(
        f"done: {outcome.step:,} steps in {duration(outcome.seconds)}{why}; "
        f"{describe(summary)}, best {best_return:.1f}"
    )
    if training:
        print(f"trained: {describe_training(training)}")
    print("replay:  rl-eval", here, *trust.required_arguments(cfg.env))
    if cfg.log.tensorboard:
        print(f"curves:  tensorboard --logdir {'runs' if here.startswith('runs/') else here}")
    _print_videos(folder / "videos")


def _print_videos(folder: Path) -> None:
    if videos := sorted(folder.glob("step_*.mp4")):
        print(f"video:   {relative(videos[-1])}")
    if videos := list(folder.glob("episode_*.mp4")):
        count = f"{len(videos)} training episode{'s' if len(videos) > 1 else ''}"
        print(f"videos:  {count} in {relative(folder)}")
