"""The winner of a search as a preset: a file of conf/hparams, ready for hparams=<name>."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rl_cli.storage.atomic_files import storing, write_atomic

MARK = "# Found by rl-search, study {}."

KEPT = ("total_timesteps", "total_episodes", "algo", "env", "stop")
"""Keys and groups of a run that belong to a preset."""

LEFT_OUT = ("algo.name", "env.id")
"""Keys that a preset cannot set."""


def difference(plain: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a preset: the values of a run that differ from those without a preset.

    Args:
        plain: configuration without a preset, interpolations unresolved.
        ours: that of the winner, likewise.

    """
    first, second = ({k: v for k, v in each.items() if k in KEPT} for each in (plain, ours))
    return _difference(first, second, "")


def _difference(plain: Mapping[str, Any], ours: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in ours.items():
        other = plain.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            if inside := _difference(other, value, f"{prefix}{key}."):
                found[key] = inside
        elif value != other and f"{prefix}{key}" not in LEFT_OUT:
            found[key] = value
    return found


def text_of(study: str, notes: list[str], values: Mapping[str, Any]) -> str:
    """The content of the file.

    Args:
        study: that found the values.
        notes: further lines of comments.
        values: what it sets.

    """
    comments = "".join(f"# {line}\n" for line in notes)
    head = f"# @package _global_\n# status: searched\n{MARK.format(study)}\n{comments}"
    return head + yaml.safe_dump(dict(values), sort_keys=False, default_flow_style=None)


def path_for(folder: Path, name: str, study: str, shipped: bool) -> Path:
    """Where to write: a new name, or the file that the same study wrote before.

    Args:
        folder: conf/hparams of the user.
        name: of the preset.
        study: that found it.
        shipped: whether a preset of that name is shipped, which would be used in its place.

    """
    base, number = f"{name}_found" if shipped else name, 1
    while True:
        path = folder / f"{base}{'' if number == 1 else f'_{number}'}.yaml"
        if not path.exists() or MARK.format(study) in path.read_text(
            encoding="utf-8", errors="replace"
        ):
            return path
        number += 1


def write(path: Path, text: str) -> None:
    """Write the file. Raises StorageError."""
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode())
