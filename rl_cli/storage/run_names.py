"""Short names of runs: `latest`, or the beginning of a run folder's name."""

from __future__ import annotations

import datetime
from pathlib import Path

from rl_cli.core import terminal
from rl_cli.core.errors import BadInput
from rl_cli.storage.run_folder import ROOT, is_new_name

LATEST = "latest"

SHOWN = 6
"""Candidates that an error message lists."""

_CHECKPOINTS = "/checkpoints/"


def runs(root: Path = ROOT) -> list[Path]:
    """Folders of runs below `root`, <root>/<algo>/<env>/<name>, the run that started last at the end."""
    found = [path.parent for path in root.glob("*/*/*/config.yaml")]
    return sorted(found, key=lambda path: (_started(path), path))


def _started(folder: Path) -> tuple[str, float]:
    """When a run started: by its name, else when config.yaml was written; orders runs of the same second."""
    try:
        written = (folder / "config.yaml").stat().st_mtime
    except OSError:
        written = 0.0
    if is_new_name(folder.name):
        return folder.name[:15], written
    return datetime.datetime.fromtimestamp(written).strftime("%Y%m%d-%H%M%S"), written


def find_run(typed: str, argument: str, root: Path = ROOT) -> str:
    """The path of the run that `typed` names.

    Args:
        typed: a path that exists; `latest`; the beginning of a run folder's name or of its path below
            `root`, `latest` also at its end (ppo/cartpole/latest). What follows /checkpoints/ is kept.
        argument: as on the command line, for errors.
        root: folder of all runs.

    Returns:
        A path that exists, or `typed` if no run is called so, which its reader refuses.

    Raises:
        BadInput: several runs begin so, or there is no run that `latest` could name.

    """
    if not typed or Path(typed).exists():
        return typed
    run, inside, rest = typed.partition(_CHECKPOINTS)
    below = run.removeprefix(f"{root}/").rstrip("/")
    start, slash, last = below.rpartition("/")
    is_latest = last == LATEST
    found = [
        path for path in runs(root) if _begins(path, root, start + slash if is_latest else below)
    ]
    if is_latest and not found:
        raise BadInput(f"there is no run in {root}/{start}", argument, "name a run folder")
    if not found:
        return typed
    if len(found) > 1 and not is_latest:
        raise BadInput(f"{len(found)} runs begin with {below}", argument, _candidates(found, root))
    return f"{found[-1]}{inside}{rest}"


def note_run(typed: str, argument: str) -> str:
    """`find_run`, with a note on stderr if the name is not the path itself."""
    found = find_run(typed, argument)
    if found != typed:
        terminal.warn(f"note: {typed} is {found}")
    return found


def _begins(path: Path, root: Path, start: str) -> bool:
    return path.name.startswith(start) or str(path.relative_to(root)).startswith(start)


def _candidates(found: list[Path], root: Path) -> str:
    """The runs that started last, the newest first."""
    newest = found[: -SHOWN - 1 : -1]
    below = [str(path.relative_to(root)) for path in newest]
    more = f" and {len(found) - SHOWN} older ones" if len(found) > SHOWN else ""
    return f"one of: {', '.join(below)}{more}"
