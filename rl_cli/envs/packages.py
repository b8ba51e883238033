"""Errors of installed packages of envs: what they say, and what a package does not work with."""

from __future__ import annotations

import contextlib
import linecache
import re
from importlib import metadata
from pathlib import Path
from types import TracebackType

from rl_cli.core.errors import first_line

WORKS_WITH = {"gymnasium-robotics": "3.3.7", "dm-control": "3.17.0"}
"""Package -> the newest mujoco it was seen to work with."""

OTHERS = "3.999"
"""The same for packages that are not listed: any mujoco before 4."""


def described(error: BaseException) -> str:
    """An exception as a sentence; the line that raised it, if it has no text."""
    name, text = type(error).__name__, first_line(error)
    if text != name:
        return f"{name}: {text}"
    last = _last(error)
    if last is None:
        return name
    file, line = last.tb_frame.f_code.co_filename, last.tb_lineno
    source = linecache.getline(file, line).strip()
    return f"{name} at {Path(file).name}:{line}" + (f": {source}" if source else "")


def too_new_mujoco(error: BaseException) -> str | None:
    """What to do about an error in a package that needs mujoco, if mujoco is newer than it works with."""
    with contextlib.suppress(metadata.PackageNotFoundError, ValueError):
        version = metadata.version("mujoco")
        for name in _packages_in(error):
            needs = [re.split(r"[^\w\-.]", text)[0] for text in metadata.requires(name) or ()]
            known = WORKS_WITH.get(name.lower().replace("_", "-"), OTHERS)
            if "mujoco" in needs and name != "gymnasium" and _numbers(version) > _numbers(known):
                wanted = "mujoco<4" if known == OTHERS else f"mujoco=={known}"
                return (
                    f"{name} does not work with mujoco {version}: in a virtual environment of its own, "
                    f'pip install "{wanted}"'
                )
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _packages_in(error: BaseException) -> list[str]:
    """Distributions whose code raised an error, the one that raised it first."""
    of_modules = metadata.packages_distributions()
    names, at = [], error.__traceback__
    while at is not None:
        top = str(at.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        names += of_modules.get(top, [])
        at = at.tb_next
    return list(dict.fromkeys(reversed(names)))


def _last(error: BaseException) -> TracebackType | None:
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at
