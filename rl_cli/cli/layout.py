"""Texts of the help: within the width of a terminal, in a pager where they are longer than it."""

from __future__ import annotations

import os
import shutil
import textwrap
from typing import Any

from rl_cli.core import terminal

WIDTH = 80
"""Columns of a text that is not shown on a narrower terminal."""

NAME = 26
"""Columns of the names of keys and choices."""


def columns() -> int:
    """Columns to use: those of the terminal, at most `WIDTH`."""
    here = shutil.get_terminal_size((WIDTH, 24)).columns if terminal.is_screen() else WIDTH
    return max(40, min(WIDTH, here))


def show(text: str) -> None:
    """Print a text, in a pager if it is longer than the terminal that it is printed on.

    PAGER names the program.
    """
    size = shutil.get_terminal_size((WIDTH, 24))
    if not terminal.is_screen() or text.count("\n") + 2 <= size.lines:
        terminal.show(text)
        return
    import pydoc

    for name in ("MANPAGER", "PAGER"):  # a program that is not installed would show nothing
        if not shutil.which(os.environ.get(name, "").partition(" ")[0]):
            os.environ.pop(name, None)
    os.environ.setdefault("LESS", "FRX")
    pydoc.pager(f"{text}\n")


def paragraph(text: str, indent: int = 0, first: int | None = None) -> str:
    """A text wrapped to the width; words longer than a line are not broken.

    Args:
        text: one paragraph.
        indent: columns in front of each line.
        first: columns in front of the first line; None: as of the others.

    """
    start = " " * (indent if first is None else first)
    return textwrap.fill(
        text,
        columns(),
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def item(name: str, text: str) -> str:
    """A line of a list: a name, and its description from column `NAME`."""
    if len(name) + 4 > NAME:
        return f"  {name}\n{paragraph(text, NAME)}"
    return f"  {name:<{NAME - 2}}{paragraph(text, NAME).lstrip()}" if text else f"  {name}"


def names(every: list[str]) -> str:
    """Names one after the other, separated by commas."""
    return paragraph(", ".join(every), 2)


def key_entry(name: str, value: Any, described: str, source: str = "") -> str:
    """A key: its name and value, then its type, range and meaning; at the right where it was set."""
    text = value_text(value)
    line = f"{name:<{NAME}}{text}" if len(name) < NAME else f"{name}  {text}"
    if len(line) > columns():
        line = f"{name}\n{paragraph(text, NAME)}"
    free = columns() - len(line.rpartition("\n")[2])
    if source:
        right = f"{source:>{free}}" if free > len(source) + 1 else f"\n{source:>{columns()}}"
        line += right
    return f"{line.rstrip()}\n{paragraph(described, 4)}"


def value_text(value: Any) -> str:
    """A value of a YAML file as written there."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "by env" if value == "???" else str(value).replace("'", "")
