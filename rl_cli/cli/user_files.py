"""The user's own configuration files: those that would be ignored or misread are reported before a run starts."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from rl_cli.cli.arguments import value_of
from rl_cli.cli.config_groups import CONF, GROUPS, chosen_by, user_folders
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput, plain
from rl_cli.core.start_folder import relative

PACKAGE_LINE = "# @package _global_"

GLOBAL = ("hparams", "experiment", "sweep")
"""Groups whose files set keys of the whole configuration, and so need the package line."""


def check(argv: list[str], groups: tuple[str, ...] = GROUPS) -> None:
    """Check the files that a command line chooses.

    A file that a shipped file of the same name replaces is noted on stderr.

    Args:
        argv: the command line.
        groups: groups that the command has.

    Raises:
        BadInput: a folder of --config-dir does not exist, or a file has no keys, is not UTF-8, or
            lacks the package line.

    """
    folders = user_folders(argv)
    for folder in folders:
        if not folder.is_dir():
            raise BadInput(
                "no such folder", f"--config-dir {relative(folder)}", "name an existing folder"
            )
        _note_shadowed([folder / "config.yaml"], CONF / "config.yaml")
    for group, name in _chosen(argv, [CONF, *folders]) if folders else ():
        shipped = CONF / group / f"{name}.yaml"
        paths = [path for f in folders if (path := f / group / f"{name}.yaml").is_file()]
        if group not in groups or not paths:
            continue
        if shipped.is_file():
            _note_shadowed(paths, shipped)
        else:
            _require_keys(paths[0], group)


def _chosen(argv: list[str], folders: list[Path]) -> Iterator[tuple[str, str]]:
    """Group and name of each file that a command line chooses, by group or by name of the pair."""
    given = {
        group: [n.strip() for n in (value_of(argv, group) or "").split(",")] for group in GROUPS
    }
    for name in given["experiment"]:
        for group in ("algo", "env", "hparams"):
            if (own := chosen_by(name, group, folders)) is not None and given[group] == [""]:
                given[group] = [own]
    if given["env"] == [""] and value_of(argv, "env.id") is None:
        given["env"] = ["cartpole"]
    given["algo"] = ["dqn"] if given["algo"] == [""] else given["algo"]
    if given["hparams"] == [""]:
        given["hparams"] = [f"{algo}_{env}" for algo in given["algo"] for env in given["env"]]
    for group, names in given.items():
        yield from ((group, name) for name in names if name)


def _note_shadowed(paths: list[Path], shipped: Path) -> None:
    for path in paths:
        if path.is_file() and path.read_bytes() != shipped.read_bytes():
            text = (
                f"note: {relative(path)} is not used: a shipped file has the same name; rename it"
            )
            terminal.warn(plain(text))


def _require_keys(path: Path, group: str) -> None:
    """Raise BadInput for a file whose keys would not be those of the run."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"this file is not UTF-8: {error}", relative(path), "save it in UTF-8"
        ) from None
    with contextlib.suppress(yaml.YAMLError, ValueError):  # reported by Hydra, with its line
        if not isinstance(yaml.safe_load(text) or {}, dict):
            raise BadInput("this file has no keys", relative(path), "write lines of key: value")
    if group in GLOBAL and not _has_package_line(text):
        raise BadInput(
            f"a file in {group}/ needs a package line: without it its keys are not those of the run",
            relative(path),
            f"the first line must be: {PACKAGE_LINE}",
        )


def _has_package_line(text: str) -> bool:
    """Whether Hydra reads a package line: it looks at the lines before the first one that is no `# @key`."""
    for line in text.splitlines():
        if line.strip() and not re.match(r"\s*#\s*@\w+\s", line):
            return False
        if re.match(r"\s*#\s*@package\s", line):
            return True
    return False
