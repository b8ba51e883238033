"""Installed packages of envs: which module registers an id, and what a package does not work with."""

from __future__ import annotations

import contextlib
import linecache
import re
from importlib import metadata
from pathlib import Path
from types import TracebackType

from rl_cli.core.errors import first_line

MAX_BYTES = 1 << 20
"""Larger source files are not searched."""

MAX_FILES = 3_000
"""Files of one package that are searched."""

WORKS_WITH = {"gymnasium-robotics": "3.3.7", "dm-control": "3.17.0"}
"""Package -> the newest mujoco it was seen to work with."""

OTHERS = "3.999"
"""The same for packages that are not listed: any mujoco before 4."""


def module_of(env_id: str) -> str | None:
    """The installed module that registers an env id when it is imported; None: none was found.

    Looks for the id as a text in the sources of packages that need gymnasium, and imports none of them.
    """
    name = env_id.rpartition("/")[2]
    quoted = re.compile(rb"""["'](?:[\w\-.]+/)?""" + re.escape(name).encode() + rb"""["']""")
    for package in metadata.distributions():
        needs = [re.split(r"[^\w\-.]", text)[0].lower() for text in package.requires or ()]
        if "gymnasium" not in needs:
            continue
        for path in _sources(package):
            with contextlib.suppress(OSError):
                if path.stat().st_size > MAX_BYTES:
                    continue
                text = path.read_bytes()
                if b"register" in text and quoted.search(text):
                    return _module_name(path)
    return None


def _sources(package: metadata.Distribution) -> list[Path]:
    """Python files of a package, those nearest to its top first; also of an editable installation."""
    found = []
    for file in package.files or ():
        path = Path(str(package.locate_file(file)))
        if path.suffix == ".py":
            found.append(path)
        elif path.suffix == ".pth":  # the folder of an editable installation
            with contextlib.suppress(OSError, UnicodeError):
                for line in path.read_text().splitlines():
                    if Path(line).is_dir():
                        found += Path(line).glob("*/*.py")
    ranked = sorted(found, key=lambda path: (len(path.parts), path.name != "__init__.py", path))
    return ranked[:MAX_FILES]


def _module_name(path: Path) -> str:
    """The dotted name of a source file: its folders up to one that is no package."""
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


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
