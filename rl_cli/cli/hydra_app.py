"""Hydra with our configuration files: composition of one configuration, runs, sweeps, and its own flags.

Subclasses of Hydra's loader and repository check files that are not shipped (`user_conf.py`). No part of
Hydra is patched. This module imports Hydra; import it where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig

from rl_cli.cli import other_launchers, sweepers, user_conf
from rl_cli.cli.arguments import value_of
from rl_cli.cli.config_groups import CONF
from rl_cli.cli.sweepers import OURS

NAME = "rl-train"
"""Hydra's name of the program, `${hydra:job.name}`."""


class CheckedRepository(ConfigRepository):
    """Refuses files that are not shipped and set what only the user may set. Raises BadInput."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or user_conf.is_shipped(source):
            return super().load_config(config_path)
        file = Path(source.path) / f"{config_path.removesuffix('.yaml')}.yaml"
        if source.scheme() == "file":
            user_conf.require_small(file)
        result = super().load_config(config_path)
        user_conf.check(file, config_path, result)
        return result


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader with a `CheckedRepository`."""

    def __init__(self, search_path: ConfigSearchPath) -> None:
        super().__init__(search_path)
        self.repository = CheckedRepository(search_path)


@contextmanager
def application(main: Path = CONF, more: str | None = None) -> Iterator[Hydra]:
    """Hydra's application.

    Args:
        main: the folder of the primary configuration.
        more: another folder, which --config-dir names.

    """
    version.setbase("1.3")
    search_path = create_config_search_path(str(main))
    if more is not None:
        search_path.prepend(
            "command-line", f"file://{Path(more).resolve()}", SearchPathQuery(provider="schema")
        )
    hydra = Hydra(NAME, CheckedLoader(search_path))
    GlobalHydra.instance().initialize(hydra)
    try:
        yield hydra
    finally:
        GlobalHydra.instance().clear()


def composed(config_name: str, overrides: list[str]) -> DictConfig:
    """The configuration of a single run, with the node of Hydra."""
    with application() as hydra:
        return hydra.compose_config(config_name, overrides, RunMode.RUN, from_shell=False)


def run(config_name: str, argv: list[str], task: Callable[[Any], object]) -> None:
    """A whole command line: a run, a sweep, or one of Hydra's flags, which prints something."""
    args = get_args_parser().parse_args(argv)
    name, overrides = args.config_name or config_name, args.overrides
    main = CONF if args.config_path is None else Path(args.config_path).resolve()
    launcher = value_of(overrides, "hydra/launcher")
    with application(main, args.config_dir) as hydra, other_launchers.ended(launcher):
        if args.cfg:
            hydra.show_cfg(name, overrides, args.cfg, args.package, args.resolve)
        elif args.info is not None:
            hydra.show_info(args.info, name, overrides)
        elif args.hydra_help:
            hydra.hydra_help(name, get_args_parser(), args)
        elif args.shell_completion:
            hydra.shell_completion(name, overrides)
        elif args.multirun:
            overrides = [*overrides, "hydra.mode=MULTIRUN"]
            if (value_of(overrides, "hydra/sweeper") or OURS[0]) not in OURS:
                cfg = hydra.compose_config(name, overrides, RunMode.MULTIRUN)
                overrides += sweepers.adapted(cfg.hydra.sweeper, argv)
            hydra.multirun(name, task, overrides)
        elif args.run or hydra.get_mode(name, overrides) != RunMode.MULTIRUN:
            hydra.run(name, task, [*overrides, "hydra.mode=RUN"])
        else:
            hydra.multirun(name, task, overrides)
