"""Counts as people write them, 10k or 2.5M, become the digits that the schema reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from rl_cli.config.schema import Key

_SHORT = re.compile(r"(?<![\w.+\-'\"])(\d[\d_]*(?:\.\d+)?)([kKmM])(?![\w.])")

_FACTOR = {"k": 1_000, "m": 1_000_000}


def expanded(words: list[str], known: Callable[[], Mapping[str, Key]]) -> list[str]:
    """Overrides with the counts of integer keys in digits, also in lists and in values of a sweep.

    Args:
        words: overrides, key=value.
        known: keys of the command; called only if there is such a count.

    """
    return [_expanded(word, known) for word in words]


def _expanded(word: str, known: Callable[[], Mapping[str, Key]]) -> str:
    key, equals, value = word.partition("=")
    if not equals or not _SHORT.search(value):
        return word
    found = known().get(key.lstrip("+"))
    if found is None or not re.search(r"\bint\b", found.type):
        return word
    return f"{key}={_SHORT.sub(_digits, value)}"


def _digits(match: re.Match[str]) -> str:
    """The count in digits; the text as it was if it is no whole number."""
    value = Fraction(match[1].replace("_", "")) * _FACTOR[match[2].lower()]
    return str(value.numerator) if value.denominator == 1 else match[0]
