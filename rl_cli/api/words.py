"""Arguments of Python functions as words of a command line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from rl_cli.core.command_line import override
from rl_cli.core.errors import BadInput


def words_of(words: Iterable[str], keys: Mapping[str, Any]) -> list[str]:
    """Words "key=value", then the keys as further words.

    Args:
        words: as typed on a command line, without options.
        keys: name -> value. A mapping sets the keys below its name: `eval={"every": 500}`.

    Raises:
        BadInput: a word is an option, or a value has no form on a command line.

    """
    if isinstance(words, str):
        words = words.split()
    typed = [str(word) for word in words]
    for word in typed:
        if word.startswith("-"):
            raise BadInput("this is an option of the command", word, "give words key=value")
    return typed + [word for key, value in keys.items() for word in _words(key, value)]


def _words(key: str, value: Any) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [word for name, inner in value.items() for word in _words(f"{key}.{name}", inner)]
    return [override(key, _plain(key, value))]


def _plain(key: str, value: Any) -> Any:
    """A value of Python's own types; arrays and numbers of numpy or torch become lists and numbers."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_plain(key, inner) for inner in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(key, inner) for name, inner in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise BadInput(
        f"a value cannot be of the type {type(value).__name__}",
        f"{key}={value!r}",
        "a number, a text, a bool, None, or a list or mapping of these",
    )
