"""The run folder: its name, config.yaml and status.json."""

from __future__ import annotations

import contextlib
import datetime
import fnmatch
import functools
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from rl_cli.core.command_line import override, pasted
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.start_folder import absolute
from rl_cli.storage import folder_lock
from rl_cli.storage.atomic_files import storing, write_atomic, write_json
from rl_cli.storage.folder_lock import FolderLock, holder, is_abandoned
from rl_cli.storage.manifest import FORMAT, steps_in
from rl_cli.storage.untrusted import (
    MAX_JSON_BYTES,
    MAX_YAML_BYTES,
    parse_json,
    parse_yaml,
    read,
    special_kind,
)

ROOT = Path("runs")

GROUPS = ("algo", "env", "eval", "checkpoint", "video", "log", "stop")
"""Keys of a configuration whose values are mappings."""


def create(algo: str, env: str, seed: int, explicit: str | None) -> FolderLock:
    """Create and lock the folder of a new run.

    Args:
        algo: first part of a generated name.
        env: second part of it.
        seed: another part of it.
        explicit: the folder to use, new or empty; None: generate a unique name.

    Raises:
        BadInput: `explicit` is not empty, or another process uses it.
        StorageError: the folder cannot be created.

    """
    if explicit is not None:
        return _take_empty(explicit)
    while True:
        folder = absolute(new_name(algo, env, seed))
        with storing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:  # two runs of the same second drew the same suffix
                continue
        return FolderLock.take(folder)


def new_name(algo: str, env: str, seed: int) -> Path:
    """runs/<algo>/<env>/<stamp>_s<seed>_<suffix>."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return ROOT / algo / env / f"{stamp}_s{seed}_{os.urandom(2).hex()}"


NEW_NAME = re.compile(r"[0-9]{8}-[0-9]{6}_s[0-9]+_[0-9a-f]{4}")


def is_new_name(name: str) -> bool:
    """Whether `new_name` gave the name, which begins with the time of the start."""
    return NEW_NAME.fullmatch(name) is not None


def output_root(*evaluated: Path) -> Path:
    """Where runs/ for results is: the current folder, or the one above the runs if it lies in one of them.

    A file inside a run or a checkpoint would not belong to it.

    Args:
        evaluated: runs or checkpoints.

    """
    here, inside = Path.cwd(), [run_of(each.resolve()) for each in evaluated]
    for run in sorted(inside, key=lambda path: -len(path.parts)):
        if here.is_relative_to(run):
            is_usual = run.parents[2].name == str(ROOT) if len(run.parts) > 3 else False
            here = run.parents[3] if is_usual else run.parent
    return Path() if here == Path.cwd() else here


def run_of(folder: Path) -> Path:
    """The folder of the run of a checkpoint; another folder itself."""
    if folder.parent.name == "checkpoints":
        return folder.parent.parent
    is_inside = folder.name == "checkpoints" and not (folder / "config.yaml").exists()
    return folder.parent if is_inside else folder


def _take_empty(explicit: str) -> FolderLock:
    folder = absolute(Path(explicit))
    if folder.exists() and not folder.is_dir():
        raise BadInput("this is a file", f"run_dir={explicit}", "name a folder")
    if explicit.strip() == "":
        raise BadInput("no folder is named", "run_dir=", "name a folder, or leave run_dir out")
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    not_empty = BadInput(
        "this folder is not empty",
        f"run_dir={explicit}",
        f"choose a new folder, or resume the run: {pasted('rl-train', override('resume', explicit))}",
    )
    if _has_content(folder) and holder(folder) is None:
        raise not_empty  # no run uses it: create no lock file in it
    lock = FolderLock.take(folder)  # first: concurrent starts see each other's files
    if _has_content(folder):
        lock.release()
        raise not_empty
    return lock


def _has_content(folder: Path) -> bool:
    """Whether there are files other than those of a run that was killed before it wrote config.yaml."""
    names = (path.name for path in folder.iterdir())
    return any(not name.startswith((folder_lock.NAME, ".config.yaml.")) for name in names)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.yaml, with the format of the configuration. Raises StorageError."""
    write_atomic(folder / "config.yaml", config_text(config))


def config_text(config: dict[str, Any]) -> bytes:
    """The content of config.yaml. Raises BadInput: it would be too long to be read again."""
    content = {"format": FORMAT, **config}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None).encode()
    if len(text) > MAX_YAML_BYTES:
        what = f"the configuration is too long: {len(text):,} bytes, of at most {MAX_YAML_BYTES:,}"
        longest = max(config, key=lambda key: len(str(config[key])))
        raise BadInput(what, longest, "let the env read long values from a file of its own")
    return text


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run, as plain values, without interpolation or defaults.

    Raises:
        BadInput: config.yaml is missing or not a configuration, or the folder contains links.

    """
    path = folder / "config.yaml"
    try:
        config = parse_yaml(read(path, MAX_YAML_BYTES))
    except OSError as error:
        raise BadInput(
            f"this is no run folder: {error.strerror}", str(path), "name a run folder"
        ) from None
    except ValueError as error:
        raise BadInput(f"not a configuration: {error}", str(path), "restore it") from None
    if not _has_valid_groups(config):
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


def _has_valid_groups(config: Any) -> bool:
    if not isinstance(config, dict) or not config.get("algo"):
        return False
    written = config.get("format", 1)
    if type(written) is not int or written < 1:
        return False
    groups = [config.get(name, {}) for name in GROUPS]
    return all(isinstance(g, dict) and isinstance(g.get("kwargs", {}), dict) for g in groups)


def require_plain(folder: Path) -> None:
    """Refuse a folder that contains anything but regular files and folders.

    Raises:
        BadInput: names a link, which would redirect writes to another place, or a pipe or device.

    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(parent, name)).st_mode
            kind = special_kind(mode)
            if kind is not None and not stat.S_ISDIR(mode):
                raise BadInput(
                    f"the run would write into {kind}",
                    os.path.join(parent, name),
                    "replace it by the file it points to, or remove it",
                )


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder; a file with several hard links counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                found = os.lstat(os.path.join(parent, name))
                sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def require_plain_files(folder: Path, patterns: Sequence[str]) -> None:
    """Refuse links, pipes and devices among the files of these names directly in a folder.

    Raises:
        BadInput: names the file.

    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(folder.iterdir()):  # `glob` leaves out links without a target
            if not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
                continue
            if (kind := special_kind(path.lstat().st_mode)) is not None:
                raise BadInput(f"the sweep would write into {kind}", str(path), "remove it")


def of_record(sweep: Path, named: object, start: object) -> Path | None:
    """The folder of the run that the record of a job names, from any current folder; None: no run.

    A relative path is looked for above the folder of the sweep, so that both can be moved together, then in the
    folder in which the sweep was started, then in the current one.

    Args:
        sweep: the folder of the record.
        named: `run_dir` of the record; it may come from anybody, as may
        start: of the record.

    """
    if not isinstance(named, str) or not named or "\0" in named:
        return None
    roots = [*_above(sweep, os.getcwd())]
    if isinstance(start, str) and start and "\0" not in start:
        roots.append(Path(start))
    for root in [Path()] if Path(named).is_absolute() else [*dict.fromkeys(roots), Path()]:
        with contextlib.suppress(OSError):  # a name that is too long
            if (root / named / "config.yaml").is_file():
                return root / named
    return None


@functools.lru_cache(maxsize=64)
def _above(sweep: Path, here: str) -> tuple[Path, ...]:
    """The folders above a sweep, and itself; the same for all of its records. Args: here: the current folder."""
    return (*dict.fromkeys((*sweep.resolve().parents, *sweep.absolute().parents)), sweep)


def write_status(folder: Path, **status: Any) -> None:
    """Write status.json: `state` (running, completed, interrupted, failed), reason, step, pid, time.

    Raises:
        StorageError: it cannot be written.

    """
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    write_json(folder / "status.json", {**status, "pid": os.getpid(), "updated": now})


def read_status(folder: Path) -> dict[str, Any]:
    """The content of status.json; empty if it is missing or unreadable.

    The state of a run whose process ended without writing how (SIGKILL, a crash in C, a power cut) is `died`; the
    step of such a run, and of one that is running, is at least that of its newest checkpoint.
    """
    try:
        status = parse_json(read(folder / "status.json", MAX_JSON_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(status, dict):
        return {}
    if status.get("state") != "running":
        return status
    with contextlib.suppress(OSError):  # a folder that cannot be listed
        step, saved = status.get("step"), steps_in(folder / "checkpoints")
        status["step"] = max([step if type(step) is int else 0, *saved])
    if is_abandoned(folder, status.get("pid")):
        status |= {"state": "died", "reason": "its process ended before it wrote a status"}
    return status
