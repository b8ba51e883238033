"""Algorithms by name: one module of this package each, or an entry point of another package.

A configuration or checkpoint can only name an algorithm of this table, never a class or a module path.
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
"""Modules of this package without an algorithm; each other module defines exactly one."""


def names() -> list[str]:
    """Names of all algorithms: those of this package and of installed entry points."""
    return sorted({*_shipped(), *_installed()})


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    """Entry points by name; cached, because the search opens a file of every installed package."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _shipped() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(__path__) if m.name not in SHARED]


def load(name: str) -> type[Algorithm]:  # type: ignore[type-arg]
    """The class of the algorithm `name`.

    Raises:
        BadInput: there is no such algorithm; suggests the closest name.

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
