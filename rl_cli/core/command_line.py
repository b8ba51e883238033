"""Command lines that are printed to be pasted: quoted for Hydra's grammar and for a shell.

What is pasted means the same values again: the text "5" stays a text, and a folder keeps its name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from rl_cli.core.errors import escaped

PLAIN_TEXT = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[A-Za-z0-9_./:\-]*")
"""Texts that Hydra reads as they are, unless they are one of WORDS."""

WORDS = ("null", "true", "false", "nan", "inf")
"""Words that Hydra reads as a value of another type, in upper or lower case."""


def pasted(*words: str) -> str:
    """The words as a line for a shell. Unprintable characters become bytes in $'...' (bash, zsh)."""
    return " ".join(map(_shell_word, words))


def _shell_word(word: str) -> str:
    if escaped(word) == word:
        return shlex.quote(word)
    shown = (
        c if escaped(c) == c else "".join(f"\\x{b:02x}" for b in c.encode(errors="surrogateescape"))
        for c in word.replace("\\", "\\\\").replace("'", "\\'")
    )
    # \x takes at most two digits, so that the character after it cannot be read as a third
    return f"$'{''.join(shown)}'"


def override(key: str, value: Any) -> str:
    """`key=value` as Hydra reads it. Value: None, bool, number, text, list, or mapping with plain keys."""
    return f"{key}={_hydra(value)}"


def argument(path: str) -> str:
    """A path as an argument of its own, which is not taken for an option or an override."""
    is_other = path.startswith("-") or "=" in path.split("/")[0]
    return f"./{path}" if is_other else path


def _hydra(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_hydra(key)}:{_hydra(v)}' for key, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_hydra, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    if PLAIN_TEXT.fullmatch(value) and value.lower() not in WORDS:
        return value
    return quoted(value)


def quoted(text: str) -> str:
    """A text in the double quotes of Hydra.

    `${`, which would start an interpolation, gets a backslash, and backslashes before it are doubled; so are
    those before a quote and at the end.
    """
    body = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    body = re.sub(r'(\\*)"', r'\1\1\\"', body)
    end = re.search(r"\\*$", body)
    return f'"{body}{end[0] if end else ""}"'
