"""How a test reports the result of a bar, and how `make bars` adds the results up."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LINE = re.compile(r"^B(\d+) got/target: (\d+)/(\d+)", re.MULTILINE)


def report(bar: int, got: int, target: int, note: str = "") -> None:
    """Print that `got` of `target` cases of bar number `bar` passed; pytest captures the line."""
    print(f"B{bar} got/target: {got}/{target}" + (f", {note}" if note else ""))


def totals(outputs: Iterable[str]) -> list[str]:
    """One line per bar: the sums of what the tests with these captured outputs reported."""
    sums: dict[int, list[int]] = {}
    for output in outputs:
        for bar, got, target in _LINE.findall(output):
            of_bar = sums.setdefault(int(bar), [0, 0])
            of_bar[0] += int(got)
            of_bar[1] += int(target)
    return [f"B{bar} got/target: {got}/{target}" for bar, (got, target) in sorted(sums.items())]
