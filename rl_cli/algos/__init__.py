"""The algorithms there are, by name: one file each, or an entry point of another package.

Names come from this explicit table alone. No configuration or checkpoint can name a class.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from rl_cli.algos.base import Algorithm
from rl_cli.core.errors import BadInput, did_you_mean

ENTRY_POINT_GROUP = "rl_cli.algos"
SHARED = {"base", "exploration", "factory", "losses", "policies", "returns"}
"""Modules of this package that hold no algorithm; each other one holds exactly one."""


def names() -> list[str]:
    """Every algorithm, shipped or installed beside us."""
    return sorted({*_shipped(), *_installed()})


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    """By name. Looking for them opens a file of every package there is."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _shipped() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(__path__) if m.name not in SHARED]


def load(name: str) -> type[Algorithm]:  # type: ignore[type-arg]
    """The algorithm called `name`.

    Raises:
        BadInput: there is none; names the nearest.

    """
    if name not in names():
        known = ", ".join(names())
        raise BadInput(
            f"unknown algorithm {name}",
            f"algo.name={name}",
            did_you_mean(name, names(), f"one of: {known}"),
        )
    if name in _shipped():
        return _algorithm_in(importlib.import_module(f"{__name__}.{name}"))
    found: type[Algorithm] = _installed()[name].load()  # type: ignore[type-arg]
    return found


def _algorithm_in(module: ModuleType) -> type[Algorithm]:  # type: ignore[type-arg]
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Algorithm)
        and value.__module__ == module.__name__
    )
    return found
