"""Checked reading of a checkpoint's state, which may come from anybody.

Each value is read with its type and range. A value outside them raises `StateError`, which names it, before
it is used: a position in a buffer, for example, becomes an address in C.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

COUNT = 2**53
"""Upper bound of counters: whole numbers up to it are exact as floats, and sums of two fit int64."""

NAMED = 60
"""Characters of a wrong value in a message."""

REQUIRED: Any = object()
"""Default of values without which a state cannot be loaded."""


class StateError(ValueError):
    """A value of a checkpoint's state is missing, or not of its type or range."""


class Fields:
    """The values of one mapping of a state, by name.

    Methods return `default`, if one is given, where the name is missing: older checkpoints lack it.

    Args:
        state: the mapping.
        path: its place in the state, for messages.

    Raises:
        StateError: by every method.

    """

    def __init__(self, state: object, path: str = "") -> None:
        if not isinstance(state, Mapping):
            raise StateError(f"{path or 'the state'} is {shown(state)}, not a mapping")
        self.state: Mapping[str, Any] = state
        self.path = path

    def name(self, key: object) -> str:
        """The place of a key in the state."""
        return f"{self.path}.{key}" if self.path else str(key)

    def get(self, key: str, default: Any = REQUIRED) -> Any:
        """A value as it is, unchecked."""
        if key in self.state:
            return self.state[key]
        if default is REQUIRED:
            raise StateError(f"{self.name(key)} is missing")
        return default

    def part(self, key: str) -> Fields:
        """A mapping inside this one."""
        return Fields(self.get(key), self.name(key))

    def mapping(self, key: str) -> dict[str, Any]:
        """A mapping inside this one, as a dict that its own reader checks."""
        return dict(self.part(key).state)

    def integer(self, key: str, low: int = 0, high: int = COUNT, default: int = REQUIRED) -> int:
        """A whole number in [low, high]."""
        value = self.get(key, default)
        return value if value is default else integer(value, self.name(key), low, high)

    def number(
        self, key: str, low: float = -math.inf, high: float = math.inf, default: Any = REQUIRED
    ) -> float:
        """A finite number in [low, high]."""
        value = self.get(key, default)
        return value if value is default else number(value, self.name(key), low, high)

    def boolean(self, key: str, default: Any = REQUIRED) -> bool:
        """True or false."""
        value = self.get(key, default)
        if value is not default and type(value) is not bool:
            raise StateError(f"{self.name(key)} is {shown(value)}, not true or false")
        return bool(value)

    def items(self, key: str, count: int | None = None, default: Any = REQUIRED) -> list[Any]:
        """A list of `count` values, each unchecked."""
        value = self.get(key, default)
        if not isinstance(value, list | tuple):
            raise StateError(f"{self.name(key)} is {shown(value)}, not a list")
        if count is not None and len(value) != count:
            raise StateError(f"{self.name(key)} has {len(value)} values, not {count}")
        return list(value)

    def numbers(self, key: str) -> list[float]:
        """A list of finite numbers, which `saved_numbers` may have made an array."""
        if isinstance(self.get(key), np.ndarray):
            found: list[float] = self.array(key, (None,), np.float64).tolist()
            return found
        return [number(v, self.name(f"{key}.{i}")) for i, v in enumerate(self.items(key))]

    def array(
        self,
        key: str,
        shape: Sequence[int | None],
        dtype: Any,
        low: float | None = None,
        high: float | None = None,
    ) -> np.ndarray:
        """An array of exactly this shape (None: any length) and dtype, finite, within [low, high]."""
        return array(self.get(key), self.name(key), shape, dtype, low, high)


FEW = 1_000
"""Numbers up to which they are a list; an array takes a third of the bytes."""


def saved_numbers(values: Collection[float]) -> list[float] | np.ndarray:
    """Numbers for a checkpoint, which `Fields.numbers` reads."""
    return list(values) if len(values) <= FEW else np.array(values, np.float64)


def integer(value: object, name: str, low: int = 0, high: int = COUNT) -> int:
    """`value`, if it is a whole number in [low, high]. Raises StateError."""
    if isinstance(value, np.integer):
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise StateError(f"{name} is {shown(value)}, not a whole number in [{low}, {high}]")
    return value


def number(value: object, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float, if it is finite and in [low, high]. Raises StateError."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, int | float) and type(plain) is not bool:
        try:
            found = float(plain)
        except OverflowError:  # an integer of hundreds of digits
            found = math.inf
        if math.isfinite(found) and low <= found <= high:
            return found
    raise StateError(f"{name} is {shown(value)}, not a finite number in [{low:g}, {high:g}]")


def array(
    value: Any,
    name: str,
    shape: Sequence[int | None],
    dtype: Any,
    low: float | None = None,
    high: float | None = None,
) -> np.ndarray:
    """`value`, an array or tensor, as an array; see `Fields.array`. Raises StateError."""
    if hasattr(value, "detach"):  # a tensor, of a state that was not saved
        value = value.detach().cpu().numpy()
    if len(shape) == 0 and not isinstance(value, np.ndarray):  # numpy turns () arrays into numbers
        value = np.array(number(value, name), dtype)
    if not isinstance(value, np.ndarray):
        raise StateError(f"{name} is {shown(value)}, not an array")
    sizes = zip(value.shape, shape, strict=False)
    fits = value.ndim == len(shape) and all(b is None or a == b for a, b in sizes)
    if not fits or value.dtype != np.dtype(dtype):
        wanted = tuple("any" if size is None else size for size in shape)
        raise StateError(f"{name} is {value.dtype} {value.shape}, not {np.dtype(dtype)} {wanted}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise StateError(f"{name} is not finite")
    if value.size and low is not None and value.min() < low:
        raise StateError(f"{name} has {value.min()}, below {low:g}")
    if value.size and high is not None and value.max() > high:
        raise StateError(f"{name} has {value.max()}, above {high:g}")
    return value


def shown(value: object) -> str:
    """A value for a message: numbers, short texts and nothing else in full."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**NAMED else f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        return repr(value[:NAMED])
    return f"a {type(value).__name__}"
