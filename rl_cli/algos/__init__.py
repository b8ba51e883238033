"""The algorithms by name: one file each, or an entry point of another package.

Configurations and checkpoints name an algorithm; only this module decides which class that is.
Importing it imports no torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.dqn import DQNConfig
from rl_cli.config.ppo import PPOConfig
from rl_cli.config.reinforce import ReinforceConfig
from rl_cli.config.run import RunConfig, build_run
from rl_cli.core.errors import BadInput
from rl_cli.core.plugins import Registry

if TYPE_CHECKING:
    from rl_cli.algos.base import Algorithm


def _is_algorithm(cls: type) -> bool:
    from rl_cli.algos.base import Algorithm

    return issubclass(cls, Algorithm)


REGISTRY: Registry[Algorithm[Any]] = Registry(
    "algorithm",
    "algo.name={}",
    __name__,
    {"base", "exploration", "factory", "losses", "policies", "returns"},
    "rl_cli.algos",
    _is_algorithm,
)

CONFIGS: dict[str, type[AlgoConfig]] = {
    "dqn": DQNConfig,
    "ppo": PPOConfig,
    "reinforce": ReinforceConfig,
}
"""Config classes that are known without importing the algorithm, and with it torch."""


def names() -> list[str]:
    """Every algorithm, shipped or installed with another package."""
    return REGISTRY.names()


def usable() -> list[str]:
    """The algorithms whose keys are known; a package that cannot be imported is left out."""
    found = []
    for name in names():
        try:
            config_class(name)
        except BadInput:
            continue
        found.append(name)
    return found


def load(name: str) -> type[Algorithm[Any]]:
    """The algorithm class called `name`.

    Raises:
        BadInput: there is none, which suggests the nearest name; or the class lacks what an algorithm needs.

    """
    found = REGISTRY.load(name)
    if (lack := _lack(found)) is not None:
        raise REGISTRY.unusable(name, lack)
    return found


def _lack(cls: type[Algorithm[Any]]) -> str | None:
    """What a class of another package lacks."""
    config = getattr(cls, "Config", None)
    if not (isinstance(config, type) and issubclass(config, AlgoConfig)):
        return "has no Config, a subclass of AlgoConfig"
    if "__pydantic_fields__" not in vars(config) and vars(config).get("__annotations__"):
        return f"has keys in {config.__name__} that are not read: the class needs @schema"
    if not getattr(cls, "supports", ()):
        return "does not name in supports the kinds of action that it takes"
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    return f"does not define {', '.join(missing)}" if missing else None


def config_class(name: str) -> type[AlgoConfig]:
    """The config class of the algorithm `name`; the algorithm is imported only if it is not shipped.

    Raises:
        BadInput: there is no such algorithm; names the nearest.

    """
    return CONFIGS[name] if name in CONFIGS else load(name).Config


def summary(name: str) -> str:
    """First line of an algorithm's docstring, for `--help`, or why it cannot be used."""
    try:
        config_class(name)
    except BadInput as error:
        return error.what
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
