"""Which installed package registers an env id, found without importing any: a search through sources.

A package registers its ids where it is imported, or in the function that an entry point of the group
`gymnasium.envs` names. An id is written out in the source, or built: `f"Panda{task}-v3"`.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import namespace

MAX_BYTES = 1 << 20
"""Larger source files are not searched."""

MAX_FILES = 3_000
"""Files of one package that are searched."""

ANYTHING = r"[\w.\-/]*"
"""Matches a value in an id that is built."""

MIN_LETTERS = 3
"""Letters that an id that is built must have in common with the one looked for, its version aside."""

EXACT = 10_000
"""More letters than an id has."""

OWN = {"gymnasium", "rl-cli"}
GROUP = "gymnasium.envs"


class Source(NamedTuple):
    """A file of a package with a call that registers something."""

    package: metadata.Distribution
    path: Path
    text: bytes


def module_of(env_id: str) -> str | None:
    """The installed module that registers an env id when it is imported; None: none was found.

    A source that registers the id comes first, then one that builds ids like it, then one that names it.
    """
    sources = list(_sources_that_register())
    letters = [_letters_in_common(source.text, env_id) for source in sources]
    if letters and max(letters) >= MIN_LETTERS:
        return _importing(sources[letters.index(max(letters))])
    name = env_id.rpartition("/")[2]
    quoted = re.compile(rb"""["'](?:[\w\-.]+/)?""" + re.escape(name).encode() + rb"""["']""")
    for source in sources:
        if quoted.search(source.text):
            return _importing(source)
    space = env_id.partition("/")[0].replace("-", "_") if "/" in env_id else None
    tops = (_module_name(source.path).partition(".")[0] for source in sources)
    return next((top for top in tops if top == space), None)


def register_by_entry_point(env_id: str) -> None:
    """Register the ids of `module:Id-v0` whose package does it in an entry point, not on import.

    Raises whatever the import of the module or the function raises.
    """
    module, _, name = env_id.rpartition(":")
    if not module or name in gym.registry:
        return
    importlib.import_module(module)
    for entry in [e for package in metadata.distributions() for e in package.entry_points]:
        if name in gym.registry:
            return
        top = entry.value.partition(":")[0].partition(".")[0]
        if entry.group.startswith(GROUP) and top == module.partition(".")[0]:
            space = (
                None if "__root__" in (entry.name, entry.group[len(GROUP) + 1 :]) else entry.name
            )
            with warnings.catch_warnings(), namespace(space):  # type: ignore[arg-type]
                warnings.simplefilter("ignore")
                entry.load()()


def _sources_that_register() -> Iterator[Source]:
    """Files of packages that need gymnasium, without this project."""
    for package in metadata.distributions():
        needs = [re.split(r"[^\w\-.]", text)[0].lower() for text in package.requires or ()]
        if "gymnasium" not in needs or str(package.name).lower().replace("_", "-") in OWN:
            continue
        for path in _files(package):
            with contextlib.suppress(OSError):
                if path.stat().st_size <= MAX_BYTES and b"register" in (text := path.read_bytes()):
                    yield Source(package, path, text)


def _files(package: metadata.Distribution) -> list[Path]:
    """Python files of a package, those nearest to its top first; also of an editable installation."""
    found = []
    for file in package.files or ():
        path = Path(str(package.locate_file(file)))
        if path.suffix == ".py":
            found.append(path)
        elif path.suffix == ".pth":  # the folder of an editable installation
            with contextlib.suppress(OSError, UnicodeError):
                for line in path.read_text(encoding="utf-8").splitlines():
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


def _importing(source: Source) -> str:
    """The shortest module whose import imports the file, as far as its parents say so in their first level."""
    name, path = _module_name(source.path), source.path
    folder = path.parent if path.name != "__init__.py" else path.parent.parent
    while "." in name and _imports(folder / "__init__.py", name.rpartition(".")[2]):
        name, folder = name.rpartition(".")[0], folder.parent
    return name


def _imports(path: Path, child: str) -> bool:
    """Whether a package imports one of its modules when it is imported itself."""
    with contextlib.suppress(OSError, ValueError, SyntaxError, RecursionError):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ImportFrom):
                names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                if child in names and (node.level or path.parent.name in names):
                    return True
            elif isinstance(node, ast.Import) and any(
                alias.name.endswith(f"{path.parent.name}.{child}") for alias in node.names
            ):
                return True
    return False


def _letters_in_common(text: bytes, env_id: str) -> int:
    """Letters of an id that occur in a source that builds ids like it; EXACT: it registers this one."""
    try:
        tree = ast.parse(text)
    except (ValueError, SyntaxError, RecursionError):
        return 0
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _registers(node)]
    assigned = {
        target.id: node.value
        for node in (ast.walk(tree) if calls else ())
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    most = 0
    for call in calls:
        named = [word.value for word in call.keywords if word.arg == "id"]
        for node in (*named, *call.args[:1]):
            most = max(most, _letters(_pieces(node, assigned), env_id))
    return most


def _letters(pieces: list[str | None], env_id: str) -> int:
    """Letters in common with an id that consists of these pieces; 0: the id is another one."""
    constant = "".join(filter(None, pieces))
    wanted = env_id if "/" in constant else env_id.rpartition("/")[2]
    pattern = "".join(ANYTHING if piece is None else re.escape(piece) for piece in pieces)
    if not re.fullmatch(pattern, wanted):
        return 0
    return sum(map(str.isalpha, re.sub(r"-v\d*$", "", constant))) if None in pieces else EXACT


def _registers(call: ast.Call) -> bool:
    """Whether a call is one of `register`, `gym.register`, `register_env` or the like."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return "register" in name


def _pieces(node: ast.expr, assigned: dict[str, ast.expr], depth: int = 0) -> list[str | None]:
    """An expression of a text as its constant pieces; None in place of a value."""
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.JoinedStr():
            return [piece for part in node.values for piece in _pieces(part, assigned, depth)]
        case ast.BinOp(op=ast.Add()):
            return [*_pieces(node.left, assigned, depth), *_pieces(node.right, assigned, depth)]
        case ast.BinOp(op=ast.Mod(), left=ast.Constant(value=str() as text)):
            return _between(r"%[-\w.]*[a-z]", text)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as text), attr="format")):
            return _between(r"\{[^}]*\}", text)
        case ast.Name() if node.id in assigned and depth < 3:
            return _pieces(assigned[node.id], assigned, depth + 1)
    return [None]


def _between(placeholder: str, text: str) -> list[str | None]:
    """The pieces of a text around its placeholders."""
    first, *rest = re.split(placeholder, text)
    found: list[str | None] = [first]
    for piece in rest:
        found += [None, piece]
    return found
