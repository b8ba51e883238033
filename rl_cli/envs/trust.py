"""Which env settings a run folder may provide, and which the user must repeat.

A run folder is untrusted data. An env id that imports a module, and a string argument of an env's
constructor, which may be used as the name of a file or a class, must be given on the command line. So must
the wrappers of an env.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from rl_cli.config.env import EnvConfig
from rl_cli.core.command_line import override, pasted
from rl_cli.core.errors import BadInput

REVIEWED = ("gymnasium.envs.", "ale_py.")
"""Packages whose envs were reviewed: a plain word as an argument names neither file nor code."""


def require_confirmed(recorded: EnvConfig, given: Mapping[str, Any]) -> None:
    """Check that the user gave every setting that a run folder must not provide.

    Args:
        recorded: the full configuration, with the user's settings applied.
        given: env settings on the command line; `kwargs` is a mapping.

    Raises:
        BadInput: a setting comes from the folder alone; lists what to add.

    """
    kwargs = given.get("kwargs")
    named = {key for key in ("id", "wrappers") if key in given}
    named |= {f"kwargs.{name}" for name in (kwargs if isinstance(kwargs, Mapping) else ())}
    missing = [word for key, word in _to_confirm(recorded).items() if key not in named]
    if missing:
        raise BadInput(
            "the run folder names code, or a string that its env may use as the name of a file or class",
            ", ".join(missing),
            f"if you trust it, add: {pasted(*missing)}",
        )


def required_arguments(recorded: EnvConfig) -> list[str]:
    """Command-line arguments that this env requires."""
    return list(_to_confirm(recorded).values())


def _to_confirm(env: EnvConfig) -> dict[str, str]:
    """Key of `env` -> the argument to give."""
    found = {"id": override("env.id", env.id)} if ":" in env.id else {}
    if env.wrappers:
        found["wrappers"] = override("env.wrappers", env.wrappers)
    known = _is_known(env.id)
    for key, value in env.kwargs.items():
        texts = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
        if not all(known and re.fullmatch(r"[A-Za-z0-9_+\-]{0,99}", text) for text in texts):
            found[f"kwargs.{key}"] = override(f"env.kwargs.{key}", value)
    return found


def _is_known(env_id: str) -> bool:
    """Whether the env belongs to a reviewed package."""
    if env_id.startswith("ALE/"):
        return True
    spec = gym.registry.get(env_id)
    entry = spec.entry_point if spec is not None else None
    return isinstance(entry, str) and entry.startswith(REVIEWED)
