"""From the words of a command line to Hydra, and from Hydra's errors to words."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from rl_cli import algos
from rl_cli.cli.arguments import check_flags, plain_overrides, split_flags, value_of
from rl_cli.cli.config_groups import (
    CONF,
    GROUPS,
    check_member,
    choices_implied,
    refuse_another_algorithm,
    user_folders,
)
from rl_cli.cli.hydra_errors import Unreadable, advise, training_keys
from rl_cli.config.schema import Key
from rl_cli.core.errors import BadInput


def run_hydra(config_name: str, argv: list[str], task: Callable[[Any], object]) -> None:
    """Compose `config_name` with the overrides and call `task` once per job.

    Raises:
        Unreadable: Hydra could not compose the configuration.
        Whatever `task` raises.

    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise to us rather than print and exit
    if not _for_hydra(argv) and (cfg := _composed(config_name, argv)) is not None:
        task(cfg)
        return
    import hydra

    raised: list[Exception] = []

    def guarded(cfg: Any) -> object:
        try:
            return task(cfg)
        except Exception as error:  # kept from Hydra, which would print a line of its own
            raised.append(error)
            return None

    sys.argv = [sys.argv[0], *argv]
    try:
        with _jobs_composed_once():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
                guarded
            )()
    except Exception as error:  # of whatever kind: all that Hydra was given is the command line
        raise Unreadable from error
    if raised:
        raise raised[0]


@contextlib.contextmanager
def _jobs_composed_once() -> Iterator[None]:
    """Without Hydra's trial of all jobs of a sweep before it composes them for good.

    It is meant for launchers that compose elsewhere. Here no job begins before all are composed.
    """
    from hydra.plugins.sweeper import Sweeper

    trial = Sweeper.validate_batch_is_legal

    def validate(sweeper: Any, batch: Any) -> None:
        # by name: Hydra makes these classes anew when it looks for plugins
        if [type(part).__name__ for part in (sweeper, sweeper.launcher)] != BASIC:
            trial(sweeper, batch)

    name = "validate_batch_is_legal"
    setattr(Sweeper, name, validate)
    try:
        yield
    finally:
        setattr(Sweeper, name, trial)


BASIC = ["BasicSweeper", "BasicLauncher"]

OF_HYDRA = "${hydra:"


def _for_hydra(argv: list[str]) -> bool:
    """Whether a command line asks for something of Hydra's beside a configuration."""
    flags, words = split_flags(argv)
    of_hydra = r"[+~]*(hydra(?!\.(sweep\.dir|searchpath)=)|sweep)\b"
    return bool(flags) or any(re.match(of_hydra, word) or OF_HYDRA in word for word in words)


def _composed(config_name: str, argv: list[str]) -> Any:
    """The configuration of a single run; None: it may be of several, which `hydra.main` looks into.

    `hydra.main` composes twice, the first time to learn whether it is to run once, and copies it.

    Raises:
        Unreadable: it cannot be composed.

    """
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict

    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose(config_name, argv, return_hydra_config=True)
    except Exception as error:
        if any(word.startswith(("experiment=", "hydra.searchpath=")) for word in argv):
            return None  # a file may have made a sweep of it
        raise Unreadable from error
    job = cfg.hydra.job
    if cfg.hydra.mode == RunMode.MULTIRUN or job.chdir or job.env_set or cfg.hydra.callbacks:
        return None
    cfg.hydra.mode = RunMode.RUN
    ours = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    if OF_HYDRA in OmegaConf.to_yaml(ours):  # what stands there only `hydra.main` knows
        return None
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def values(cfg: Any) -> dict[str, Any]:
    """A composed configuration as plain values.

    Raises:
        Unreadable: it refers to something that is not there.

    """
    from omegaconf import OmegaConf

    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except Exception as error:
        raise Unreadable from error


def as_typed(overrides: Any) -> list[str]:
    """The overrides of a job, what they refer to left unlooked at."""
    from omegaconf import OmegaConf

    return cast(list[str], OmegaConf.to_container(overrides, resolve=False))


def plain(argv: list[str]) -> list[str]:
    """The command line of rl-train without Hydra's signs.

    Raises:
        BadInput: an option or, behind a sign, a key that does not exist.

    """
    flags, overrides = split_flags(argv)
    check_flags(flags)
    every: dict[str, Key] = {}
    if any(
        word.startswith(("+", "~")) for word in overrides
    ):  # which asks for all algorithms' files
        for name in algos.names():
            every |= training_keys([f"algo={name}"])
    return flags + plain_overrides(
        overrides, every, rf"{OPEN_KEYS}\.", lambda key: advise(key, training_keys(argv))
    )


OPEN_KEYS = r"(?:env\.kwargs|callbacks|log\.sinks)"
"""Mappings whose keys are not in the schema."""


def prepare(argv: list[str]) -> list[str]:
    """The command line as Hydra should see it.

    env.kwargs.x=1 may name a new key; a bare env.id chooses the `custom` group, or that of
    Atari games; tuned values of
    one env are not applied to another; a conf/ folder here joins the search path.

    Raises:
        BadInput: a group has no such member, or one that another contradicts.

    """
    flags, overrides = split_flags(argv)
    _refuse_contradictions(argv)
    folders = [CONF, *user_folders(argv)]
    for group in GROUPS:
        given = value_of(argv, group)
        for name in [] if given is None else given.split(","):
            check_member(group, name.strip(), folders)
    refuse_another_algorithm(argv, folders)
    out = [re.sub(rf"^({OPEN_KEYS}(\.|=))", r"++\1", arg) for arg in overrides]
    out += choices_implied(argv, folders)
    out += search_path(argv, folders)
    if value_of(argv, "hydra.sweep.dir") is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out.append(f"hydra.sweep.dir=runs/sweeps/{stamp}_{os.urandom(2).hex()}")
    return flags + out


def search_path(argv: list[str], folders: list[Path]) -> list[str]:
    """Hydra looks into a conf/ folder here as well."""
    here = Path.cwd() / "conf"
    if here not in folders or value_of(argv, "hydra.searchpath") is not None:
        return []
    quoted = str(here).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.searchpath=['file://{quoted}']"]


def _refuse_contradictions(argv: list[str]) -> None:
    if name := value_of(argv, "algo.name"):
        raise BadInput("an algorithm is chosen by its group", f"algo.name={name}", f"algo={name}")
    if value_of(argv, "run_dir") is not None and {"-m", "--multirun"} & set(argv):
        raise BadInput(
            "the runs of a sweep cannot share one folder",
            f"run_dir={value_of(argv, 'run_dir')}",
            "leave run_dir out, or name the sweep's folder: hydra.sweep.dir=<folder>",
        )
