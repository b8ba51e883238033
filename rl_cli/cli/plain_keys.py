"""Command lines of names and `key=value` pairs, for commands that compose nothing."""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

from rl_cli.cli.numbers import expanded
from rl_cli.cli.option_forms import check_forms
from rl_cli.config.schema import build, keys, suggest
from rl_cli.core.errors import BadInput
from rl_cli.storage.run_names import note_run

T = TypeVar("T")


def parse(command: str, argv: list[str], cls: type[T]) -> tuple[list[str], T]:
    """Names and configuration of a command line. Keys that are not given are null; short names of runs are paths.

    Args:
        command: for messages.
        argv: the command line.
        cls: schema of the keys; each accepts null.

    Raises:
        BadInput: an option, an unknown key, or a value that the schema refuses.

    """
    known, typed, names = keys(cls), dict[str, Any](), list[str]()
    check_forms(command, argv, lambda: known, paths=True)
    for word in expanded(argv, lambda: known):
        key, equals, value = word.partition("=")
        if not word.strip():
            raise BadInput(
                "no folder is named",
                f"'{word}'",
                "name a folder; a variable of the shell may be empty",
            )
        if word.startswith("-"):
            raise BadInput("unknown option", word, f"see {command} --help")
        if not equals or "/" in key:
            names.append(note_run(word, word))
        elif key not in known:
            raise BadInput(f"unknown key {key}", word, suggest(key, known))
        else:
            typed[key] = _value(known[key].type, value)
    return names, build(cls, dict.fromkeys(known) | typed)


BOOLS = {"true": True, "false": False}


def _value(kind: str, text: str) -> Any:
    """A value as Hydra reads it; a text that the kind does not allow is refused by the schema."""
    kinds = kind.split(" | ")
    if text.lower() == "null":
        return None
    if "bool" in kinds and text.lower() in BOOLS:
        return BOOLS[text.lower()]
    if {"int", "float"} & set(kinds):
        for read in (int, float):
            with contextlib.suppress(ValueError):
                return read(text)
    return text
