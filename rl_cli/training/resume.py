"""Going on with a run: from which checkpoint, what may differ, and what is told of it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from rl_cli.config import migrations
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.env import EnvConfig
from rl_cli.config.run import RunConfig
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.types import Arrays, State
from rl_cli.storage import checkpoint_reader, recovery, run_folder
from rl_cli.storage.manifest import Manifest, steps_in
from rl_cli.tracking.console import relative

AUTO = "auto"

HOW = ("resume", "run_dir", "jobs", "quiet")
"""Keys that say how a run was started, not what it is. They are not recorded."""

MAY_CHANGE = (
    *("total_timesteps", "total_episodes"),
    *("device", "threads", "workers", "step_timeout"),
)

MAY_CHANGE_GROUPS = ("eval.", "log.", "video.", "checkpoint.", "stop.")


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint read whole, before anything of the run's folder is touched."""

    manifest: Manifest
    policy: Arrays
    state: State


def begun(cfg: RunConfig) -> Path | None:
    """The folder of the run to go on with; None: a new one begins.

    Raises:
        BadInput: it is to be looked for, and no folder is named.

    """
    if cfg.resume != AUTO:
        return None if cfg.resume is None else Path(cfg.resume)
    if cfg.run_dir is None:
        raise BadInput(
            "no folder is named to look for a run in", "resume=auto", "add run_dir=<folder>"
        )
    folder = Path(cfg.run_dir)
    return folder if (folder / "config.yaml").exists() else None


def go_on_from(folder: Path, cfg: RunConfig, algo_cfg: AlgoConfig) -> Saved | None:
    """What to take up, nothing in the run's folder being half-written any more; None: from the start.

    Raises:
        BadInput: no checkpoint is whole, or that one is of another run or beyond the budget.

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
        _refuse_fewer_episodes(saved.state, cfg)
    for path, why in broken:
        kept = recovery.set_aside(path)
        print(f"broken checkpoint set aside as {relative(kept)}: {plain(why)}", file=sys.stderr)
    return saved


def _refuse_fewer_episodes(state: State, cfg: RunConfig) -> None:
    """A budget that was met may have been passed within the same step, by every env but one."""
    logger = cast(dict[str, Any], state["logger"])
    had = logger["tally"]["count"] if "tally" in logger else logger["episodes_total"]
    if cfg.total_episodes is not None and had >= cfg.total_episodes + cfg.env.num_envs:
        raise BadInput(
            f"the run has already had {had} episodes",
            f"total_episodes={cfg.total_episodes}",
            "give a larger budget",
        )


def read(folder: Path) -> tuple[Saved | None, list[tuple[Path, str]]]:
    """The newest valid checkpoint of a run, and the broken ones that are newer.

    None: the run ended before its first checkpoint, and begins again.

    Raises:
        BadInput: there are checkpoints, and none of them is whole; or one is of a later version of
            the program, which nothing older should go on without.

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
    """Refuse a checkpoint that was put into this run's folder from another one.

    Raises:
        BadInput: names what differs.

    """
    manifest = saved.manifest
    own = {"seed": seed, "algo": dataclasses.asdict(algo), "env": dataclasses.asdict(env)}
    theirs = {"seed": manifest.seed, "algo": manifest.algo, "env": manifest.env}
    mine, other = dict(_flat(own)), dict(_flat(theirs))
    for key in mine.keys() & other.keys():  # a key may have come, or gone, since
        if mine[key] != other[key]:
            raise BadInput(
                f"checkpoint {manifest.step} is of another run",
                f"{key} is {_shown(other[key])} there, {_shown(mine[key])} in this run",
                "take it out of this run's folder",
            )


def recorded(folder: Path) -> tuple[dict[str, Any], tuple[str, str]]:
    """A run's configuration, keys of later versions filled in, and its labels.

    Raises:
        BadInput: there is no run.

    """
    config = run_folder.read_config(folder)
    labels = config.pop("labels", None)
    if not isinstance(labels, list) or len(labels) != 2:
        labels = ["run", "run"]
    how = {"resume": None, "run_dir": None, "jobs": 1, "quiet": False}
    return how | migrations.run(config), (str(labels[0]), str(labels[1]))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, but for those that say how a run is started -> (before, now).

    Raises:
        BadInput: one of them would make it another run; shows the first ones.

    """
    old, new = dict(_flat(before)), dict(_flat(now))
    differing = {
        key: (old.get(key), new.get(key))
        for key in {**old, **new}
        if key not in HOW and old.get(key) != new.get(key)
    }
    refused = [
        f"{key} is {_shown(was)} in the run, {_shown(asked)} was asked for"
        for key, (was, asked) in differing.items()
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
