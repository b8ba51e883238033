"""The folder a run leaves behind: its name, its configuration, its status."""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path
from typing import Any, cast

import yaml

from rl_cli.core.errors import BadInput, plain
from rl_cli.storage import folder_lock
from rl_cli.storage.atomic_files import storing, write_atomic, write_json
from rl_cli.storage.folder_lock import FolderLock, holder
from rl_cli.storage.manifest import FORMAT
from rl_cli.storage.untrusted import MAX_JSON_BYTES, MAX_YAML_BYTES, parse_json, parse_yaml, read

ROOT = Path("runs")

GROUPS = ("algo", "env", "eval", "checkpoint", "video", "log", "stop")
"""Keys of a configuration that hold others."""


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
    """Anything but what a start leaves that was killed before it had recorded what the run is."""
    names = {path.name for path in folder.iterdir()} - {".config.yaml.part"}
    return any(not name.startswith(folder_lock.NAME) for name in names)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Record what the run is, and in which format."""
    text = yaml.safe_dump({"format": FORMAT, **config}, sort_keys=False, default_flow_style=None)
    write_atomic(folder / "config.yaml", text.encode())


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run, as plain values; nothing in it is carried out or filled in.

    Raises:
        BadInput: there is none, it is no YAML of our kind, or the folder holds links.

    """
    path = folder / "config.yaml"
    try:
        config = parse_yaml(read(path, MAX_YAML_BYTES))
    except OSError as error:
        raise BadInput(
            f"no run to go on with: {error.strerror}", str(path), "name a run's folder"
        ) from None
    except ValueError as error:
        raise BadInput(f"not a configuration: {error}", str(path), "restore it") from None
    if not _is_nested_rightly(config):
        raise BadInput("not a configuration", str(path), "restore it")
    if (written := config.get("format", 1)) > FORMAT:
        raise BadInput(
            f"configuration format {written} is newer than this program's {FORMAT}",
            str(path),
            "upgrade rl-cli",
        )
    require_plain(folder)
    if isinstance(labels := config.get("labels"), list):
        config["labels"] = [plain(str(label)) for label in labels]
    return cast(dict[str, Any], config)


def _is_nested_rightly(config: Any) -> bool:
    if not isinstance(config, dict) or not config.get("algo"):
        return False
    if type(config.get("format", 1)) is not int:
        return False
    groups = [config.get(name, {}) for name in GROUPS]
    return all(isinstance(g, dict) and isinstance(g.get("kwargs", {}), dict) for g in groups)


def require_plain(folder: Path) -> None:
    """Refuse a folder to write into that holds more than files and folders.

    Raises:
        BadInput: names a link, which would lead what is written elsewhere, or a pipe or device.

    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(parent, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a link" if stat.S_ISLNK(mode) else "a pipe or device"
                raise BadInput(
                    f"{kind} stands where the run would write",
                    os.path.join(parent, name),
                    "put what it stands for in its place, or take it away",
                )


def write_status(folder: Path, **status: Any) -> None:
    """status.json: running | completed | interrupted | failed, with reason, step and time."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    write_json(folder / "status.json", {**status, "pid": os.getpid(), "updated": now})


def read_status(folder: Path) -> dict[str, Any]:
    """What status.json says; empty where it does not exist."""
    try:
        status = parse_json(read(folder / "status.json", MAX_JSON_BYTES))
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}
