"""Resuming a run: from which checkpoint, and which keys may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rl_cli.config import migrations
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.env import EnvConfig
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.fields import StateError
from rl_cli.core.start_folder import relative
from rl_cli.core.types import Arrays, State
from rl_cli.storage import checkpoint_reader, recovery, run_folder
from rl_cli.storage.manifest import STATE_JSON, Manifest, steps_in
from rl_cli.training.state_migration import counters

AUTO = "auto"

RESTORE = "restore the checkpoint, or move it out of the folder to resume from an earlier one"

HOW = ("resume", "run_dir", "jobs", "retries", "gpus", "display", "quiet")
"""Keys of how a run is started, which do not change its result. They are not recorded."""

MAY_CHANGE = (
    *("total_timesteps", "total_episodes"),
    *("device", "threads", "workers", "step_timeout"),
)

MAY_CHANGE_GROUPS = ("eval.", "log.", "video.", "checkpoint.", "stop.", "callbacks.")


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint, read completely before anything in the run folder is changed."""

    manifest: Manifest
    policy: Arrays
    state: State


def folder_of(cfg: RunConfig) -> Path | None:
    """The folder of the run to resume; None: start a new run.

    Raises:
        BadInput: resume=auto without run_dir.

    """
    if cfg.resume != AUTO:
        return None if cfg.resume is None else Path(cfg.resume)
    if cfg.run_dir is None:
        raise BadInput(
            "no folder is named to look for a run in", "resume=auto", "add run_dir=<folder>"
        )
    folder = Path(cfg.run_dir)
    return folder if (folder / "config.yaml").exists() else None


def has_checkpoint(folder: Path | None) -> bool:
    """Whether a run's folder contains a checkpoint. False if there is no folder."""
    return folder is not None and bool(steps_in(folder / "checkpoints"))


def load_checkpoint(folder: Path, cfg: RunConfig, algo_cfg: AlgoConfig) -> Saved | None:
    """Clean up incomplete files and read the newest valid checkpoint. None: start at step 0.

    Raises:
        BadInput: no checkpoint is valid, or it belongs to another run or exceeds the budget.

    """
    recovery.recover(folder / "checkpoints")
    saved, broken = read(folder)
    if saved is not None:
        require_same_run(saved, cfg.seed, algo_cfg, cfg.env)
        if saved.manifest.step > cfg.total_timesteps:
            raise BadInput(
                f"the run is already at step {saved.manifest.step}",
                f"total_timesteps={cfg.total_timesteps}",
                "give a larger budget",
            )
        _check_counters(saved, cfg, folder)
    for path, why in broken:
        kept = recovery.set_aside(path)
        terminal.warn(f"broken checkpoint set aside as {relative(kept)}: {plain(why)}")
    return saved


def _check_counters(saved: Saved, cfg: RunConfig, folder: Path) -> None:
    """Refuse a state of another step, or beyond the budget of episodes.

    With N envs a run may have exceeded its budget by up to N - 1 episodes at its last step.
    """
    try:
        step, had = counters(saved.state)
        if step != saved.manifest.step:
            raise StateError(f"its step is {step}, that of the manifest {saved.manifest.step}")
    except StateError as error:
        where = str(folder / "checkpoints" / f"{saved.manifest.step:09d}" / STATE_JSON)
        raise BadInput(f"not the state of a run: {error}", where, RESTORE) from None
    if cfg.total_episodes is not None and had >= cfg.total_episodes + cfg.env.num_envs:
        raise BadInput(
            f"the run is already at episode {had}",
            f"total_episodes={cfg.total_episodes}",
            "give a larger budget",
        )


def read(folder: Path) -> tuple[Saved | None, list[tuple[Path, str]]]:
    """The newest valid checkpoint of a run, and the broken ones that are newer.

    None: the run ended before its first checkpoint, and starts at step 0.

    Raises:
        BadInput: none of the checkpoints is valid; or one that is newer than every valid one was written
            by a newer version of rl-cli, in which case no older one is used.

    """
    steps = steps_in(folder / "checkpoints")
    if not steps:
        return None, []
    broken: list[tuple[Path, str]] = []
    for step in reversed(steps):
        path = checkpoint_reader.find(folder, str(step))
        try:
            manifest = checkpoint_reader.read_manifest(path)
            policy = checkpoint_reader.read_policy(path, manifest)
            return Saved(manifest, policy, checkpoint_reader.read_state(path, manifest)), broken
        except checkpoint_reader.NewerCheckpoint:
            raise
        except BadInput as error:
            last = error
            broken.append((path, f"{Path(error.where).name}: {error.what}"))
    raise last


def require_same_run(saved: Saved, seed: int, algo: AlgoConfig, env: EnvConfig) -> None:
    """Refuse a checkpoint of another run.

    Raises:
        BadInput: names what differs.

    """
    manifest = saved.manifest
    own = {"seed": seed, "algo": dataclasses.asdict(algo), "env": dataclasses.asdict(env)}
    theirs = {"seed": manifest.seed, "algo": manifest.algo, "env": manifest.env}
    mine, other = dict(_flat(own)), dict(_flat(theirs))
    for key in mine.keys() & other.keys():  # another version may have other keys
        if mine[key] != other[key]:
            raise BadInput(
                f"checkpoint {manifest.step} is of another run",
                f"{key} is {_shown(other[key])} there, {_shown(mine[key])} in this run",
                "move it out of this run folder",
            )


def recorded(folder: Path) -> tuple[dict[str, Any], Labels]:
    """A run's configuration, with keys that were added later, and its labels.

    Raises:
        BadInput: the folder contains no run.

    """
    config = run_folder.read_config(folder)
    labels = Labels.from_record(config)
    how: dict[str, Any] = {"retries": 0, "gpus": []}
    how |= {"resume": None, "run_dir": None, "jobs": 1, "display": "auto", "quiet": False}
    return how | migrations.run(config), labels


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ -> (before, now), without those of `HOW`.

    Raises:
        BadInput: a key that must not change; names the first three.

    """
    old, new = dict(_flat(before)), dict(_flat(now))
    differing = {
        key: (old.get(key), new.get(key))
        for key in {**old, **new}
        if key not in HOW and old.get(key) != new.get(key)
    }
    refused = [
        f"{key} is {_shown(was)} in the run, {_shown(given)} was given"
        for key, (was, given) in differing.items()
        if not (key in MAY_CHANGE or key.startswith(MAY_CHANGE_GROUPS))
    ]
    if refused:
        more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
        allowed = ", ".join([*MAY_CHANGE, *(f"{group}*" for group in MAY_CHANGE_GROUPS)])
        raise BadInput(
            "a resumed run keeps its configuration",
            "; ".join(refused[:3]) + more,
            f"leave it out, or start a new run; these may change: {allowed}",
        )
    return differing


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
