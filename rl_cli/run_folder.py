"""The folder a run leaves behind: its name, its configuration, its status."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import yaml

from rl_cli.errors import BadInput
from rl_cli.files import storing, write_atomic, write_json

ROOT = Path("runs")


def create(algo: str, env: str, seed: int, explicit: str | None) -> Path:
    """Make the folder of a new run: runs/<algo>/<env>/<stamp>_s<seed>_<suffix>, or `explicit`.

    Raises:
        BadInput: `explicit` exists and is not empty.
        StorageError: it cannot be made.

    """
    if explicit is not None:
        folder = Path(explicit)
        if folder.exists() and not folder.is_dir():
            raise BadInput("this is a file", f"run_dir={explicit}", "name a folder")
        if explicit.strip() == "":
            raise BadInput("no folder is named", "run_dir=", "name one, or leave run_dir out")
        if folder.exists() and any(folder.iterdir()):
            raise BadInput(
                "this folder is not empty",
                f"run_dir={explicit}",
                f"name a new one, or go on with it: rl-train resume={explicit}",
            )
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    while True:
        folder = ROOT / algo / env / f"{stamp}_s{seed}_{os.urandom(2).hex()}"
        with storing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:  # two starts in one second drew the same suffix
                continue
        return folder


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
