"""What a run folder may name by itself, and what a person has to say.

A folder is data. An env id that imports a module, and a text handed to an env's constructor, which
may take it for the name of a file or of a class, count only where somebody has typed them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput

READ = ("gymnasium.envs.", "ale_py.")
"""Packages whose envs have been read: a word without signs is neither file nor code to them."""


def require_said(recorded: EnvConfig, said: Mapping[str, Any]) -> None:
    """Let an env be made from what a folder recorded and what a person `said` of it.

    Args:
        recorded: the whole configuration, the words of the person in it.
        said: the keys of it that stand on the command line, `kwargs` a mapping.

    Raises:
        BadInput: something is only the folder's word; shows what to add.

    """
    kwargs = said.get("kwargs")
    named = {"id" if "id" in said else "", *(kwargs if isinstance(kwargs, Mapping) else ())}
    missing = [word for key, word in _to_be_said(recorded).items() if key not in named]
    if missing:
        raise BadInput(
            "the run names a module, a file or a text that its env may take for one",
            ", ".join(missing),
            f"if you trust it, add: {' '.join(map(shlex.quote, missing))}",
        )


def words(recorded: EnvConfig) -> list[str]:
    """What has to stand on a command line for this env, each ready for a shell."""
    return [shlex.quote(word) for word in _to_be_said(recorded).values()]


def _to_be_said(env: EnvConfig) -> dict[str, str]:
    """Key of env.kwargs, or "id" -> the word to be typed."""
    found = {"id": f"env.id={env.id}"} if ":" in env.id else {}
    known = _is_known(env.id)
    for key, value in env.kwargs.items():
        texts = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
        if not all(known and re.fullmatch(r"[A-Za-z0-9_+\-]{0,99}", text) for text in texts):
            found[key] = f"env.kwargs.{key}={_typed(value)}"
    return found


def _is_known(env_id: str) -> bool:
    """Whether it is an env of a package that has been read."""
    if env_id.startswith("ALE/"):
        return True
    spec = gym.registry.get(env_id)
    entry = spec.entry_point if spec is not None else None
    return isinstance(entry, str) and entry.startswith(READ)


def _typed(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, list):
        return f"[{','.join(_typed(v) for v in value)}]"
    if not isinstance(value, str):
        return "null" if value is None else str(value).lower()
    if re.fullmatch(r"[\w./:~\-]+", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
