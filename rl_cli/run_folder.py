"""The folder a run leaves behind: its name, its configuration, its status."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import yaml

from rl_cli import folder_lock
from rl_cli.errors import BadInput
from rl_cli.files import storing, write_atomic, write_json
from rl_cli.folder_lock import FolderLock, holder

ROOT = Path("runs")


def create(algo: str, env: str, seed: int, explicit: str | None) -> FolderLock:
    """Make and lock the folder of a new run: `explicit`, or a new one of a name of its own.

    Raises:
        BadInput: `explicit` is not empty, or another process is at work in it.
        StorageError: it cannot be made.

    """
    if explicit is not None:
        return _take_empty(explicit)
    while True:
        folder = new_name(algo, env, seed)
        with storing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:  # two starts in one second drew the same suffix
                continue
        return FolderLock.take(folder)


def new_name(algo: str, env: str, seed: int) -> Path:
    """runs/<algo>/<env>/<stamp>_s<seed>_<suffix>."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return ROOT / algo / env / f"{stamp}_s{seed}_{os.urandom(2).hex()}"


def _take_empty(explicit: str) -> FolderLock:
    folder = Path(explicit)
    if folder.exists() and not folder.is_dir():
        raise BadInput("this is a file", f"run_dir={explicit}", "name a folder")
    if explicit.strip() == "":
        raise BadInput("no folder is named", "run_dir=", "name one, or leave run_dir out")
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    not_empty = BadInput(
        "this folder is not empty",
        f"run_dir={explicit}",
        f"name a new one, or go on with it: rl-train resume={explicit}",
    )
    if _holds_something(folder) and holder(folder) is None:
        raise not_empty  # nobody's run: no lock file is made in it either
    lock = FolderLock.take(folder)  # first: of several starts one looks into it
    if _holds_something(folder):
        lock.release()
        raise not_empty
    return lock


def _holds_something(folder: Path) -> bool:
    return any(not path.name.startswith(folder_lock.NAME) for path in folder.iterdir())


def write_config(folder: Path, config: dict[str, Any]) -> None:
    text = yaml.safe_dump(config, sort_keys=False, default_flow_style=None)
    write_atomic(folder / "config.yaml", text.encode())


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        BadInput: there is none, or it is no YAML mapping.

    """
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(
            f"no run to go on with: {error.strerror}", str(path), "name a run's folder"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"not YAML: {error}".splitlines()[0], str(path), "restore it") from None
    if not isinstance(config, dict) or not isinstance(config.get("algo"), dict):
        raise BadInput("not a configuration", str(path), "restore it")
    return config


def write_status(folder: Path, **status: Any) -> None:
    """status.json: running | completed | interrupted | failed, with reason, step and time."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    write_json(folder / "status.json", {**status, "pid": os.getpid(), "updated": now})


def read_status(folder: Path) -> dict[str, Any]:
    """What status.json says; empty where it does not exist."""
    try:
        status = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}
