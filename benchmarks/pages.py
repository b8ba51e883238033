"""Tables in the documentation, each between two marks: <!-- NAME --> and <!-- end NAME -->."""

from __future__ import annotations

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]


def insert(page: str | Path, mark: str, table: str, end: str = "") -> None:
    """Replace the text between the marks of a page, given by its name in docs/ or by an absolute path.

    A page without the marks is unchanged.
    """
    path = REPO / "docs" / page
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- {end or f'end {mark}'} -->)", re.DOTALL)
    path.write_text(marked.sub(lambda m: m[1] + table + "\n" + m[2], path.read_text()))
