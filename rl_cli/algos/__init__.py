"""The algorithms by name: one file each, or an entry point of another package.

Configurations and checkpoints name an algorithm; only this module decides which class that is.
Importing it imports no torch.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.dqn import DQNConfig
from rl_cli.config.ppo import PPOConfig
from rl_cli.config.reinforce import ReinforceConfig
from rl_cli.config.run import RunConfig, build_run
from rl_cli.core.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from rl_cli.algos.base import Algorithm

ENTRY_POINT_GROUP = "rl_cli.algos"
SHARED = {"base", "exploration", "factory", "losses", "policies", "returns"}
"""Modules of this package without an algorithm; each other module has exactly one."""

CONFIGS: dict[str, type[AlgoConfig]] = {
    "dqn": DQNConfig,
    "ppo": PPOConfig,
    "reinforce": ReinforceConfig,
}
"""Config classes that are known without importing the algorithm, and with it torch."""


def names() -> list[str]:
    """Every algorithm, shipped or installed with another package."""
    return sorted({*_shipped(), *_installed()})


def config_class(name: str) -> type[AlgoConfig]:
    """The config class of the algorithm `name`; the algorithm is imported only if it is not shipped.

    Raises:
        BadInput: there is no such algorithm; names the nearest.

    """
    return CONFIGS[name] if name in CONFIGS else load(name).Config


def summary(name: str) -> str:
    """First line of an algorithm's docstring, for `--help`."""
    described = CONFIGS[name] if name in CONFIGS else load(name)
    return (inspect.getdoc(described) or "").partition("\n")[0]


def build_run_config(values: Mapping[str, Any]) -> RunConfig:
    """The typed configuration of a run, from its composed values.

    Raises:
        BadInput: there is no such algorithm, or a key or value is wrong.

    """
    algo = values.get("algo")
    if not isinstance(algo, Mapping):
        raise BadInput("algo is a group of keys", f"algo={algo}", "algo=<name>")
    return build_run(values, config_class(str(algo.get("name"))))


def load(name: str) -> type[Algorithm[Any]]:
    """The algorithm class called `name`.

    Raises:
        BadInput: there is no such algorithm; names the nearest.

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
    found: type[Algorithm[Any]] = _installed()[name].load()
    return found


@functools.cache
def _installed() -> dict[str, EntryPoint]:
    """Entry points by name; cached, because the search opens a file of every installed package."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}


def _shipped() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(__path__) if m.name not in SHARED]


def _algorithm_in(module: ModuleType) -> type[Algorithm[Any]]:
    from rl_cli.algos.base import Algorithm

    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Algorithm)
        and value.__module__ == module.__name__
    )
    return found
