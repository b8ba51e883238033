"""One form for whole numbers: 5e2, 500.0 and 500 are the same value of a key."""

from __future__ import annotations

from typing import Any


def whole(value: Any) -> Any:
    """Nested plain values in which floats that are whole numbers are integers."""
    match value:
        case dict():
            return {key: whole(item) for key, item in value.items()}
        case list() | tuple():
            return [whole(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
