"""From the words of a command line to Hydra, and from Hydra's errors to words."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from rl_cli import algos, earlier
from rl_cli.cli.arguments import check_flags, plain_overrides, split_flags, value_of
from rl_cli.cli.groups import (
    CONF,
    GROUPS,
    algorithm_of,
    check_member,
    choices_implied,
    refuse_another_algorithm,
    user_folders,
)
from rl_cli.config import SEE_HELP, AlgoConfig, Key, RunConfig, keys, suggest
from rl_cli.errors import BadInput, RunError

INTERRUPTED = (129, 130, 138, 143)


class Unreadable(Exception):
    """Hydra could not make a configuration of the command line; its cause says why."""


@contextlib.contextmanager
def reported(argv: list[str], known: Callable[[], dict[str, Key]]) -> Iterator[list[int]]:
    """Run the body; print what goes wrong as three lines and leave the exit code in the list.

    `known` tells the keys of the command, for suggestions.
    """
    code = [0]
    try:
        yield code
    except RunError as error:
        if os.environ.get("RL_CLI_DEBUG"):
            traceback.print_exc()
        print(error, file=sys.stderr)
        code[0] = error.exit_code
    except KeyboardInterrupt:
        code[0] = 130
    except Unreadable as error:
        if os.environ.get("RL_CLI_DEBUG"):
            traceback.print_exc()
        print(explain(cast(Exception, error.__cause__), argv, known), file=sys.stderr)
        code[0] = BadInput.exit_code
    except Exception:  # a bug: what it was is told in full
        traceback.print_exc()
        code[0] = 1


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


def parsed(word: str) -> tuple[str, Any]:
    """Key and value of one override, read as Hydra reads it.

    Raises:
        BadInput: it is none, or names several values.

    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        override = OverridesParser.create().parse_override(word)
        value = None if override.is_sweep_override() else override.value()
    except Exception:
        raise BadInput("cannot read this argument", word, QUOTE) from None
    if override.is_sweep_override():
        raise BadInput("several values for one run", word, "give one")
    return override.key_or_group, value


QUOTE = "write key=value; quote what the shell or commas would split"


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
        overrides, every, r"env\.kwargs\.", lambda key: advise(key, training_keys(argv))
    )


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
    out = [re.sub(r"^(env\.kwargs(\.|=))", r"++\1", arg) for arg in overrides]
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


def explain(error: Exception, argv: list[str], known: Callable[[], dict[str, Key]]) -> BadInput:
    """Why Hydra could not read a command line, in our words."""
    text = f"{error}\n{error.__cause__ or ''}"
    inside = re.search(r"not in struct\s+full_key: (\S+)", text)
    if found := inside or re.search(r"Could not override '([^']+)'", text):
        name = found[1]
        return BadInput(f"unknown key {name}", _where(error, argv, name), advise(name, known()))
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, name = found[1].rpartition("/")
        what = f"no {group or 'config'} called {name}" if name else f"{group}= names nothing"
        return BadInput(what, f"{group}={name}", SEE_HELP)
    if found := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text):
        fix = "several values are a sweep: rl-train -m ...; a list is written [a,b]"
        return BadInput("several values for one run", found[1], fix)
    if found := re.search(r"Could not delete from config. '([^']+)'", text):
        return BadInput(f"there is no {found[1]} to take away", f"~{found[1]}", "leave it out")
    if (word := _unreadable(argv)) is not None:
        return BadInput("cannot read this argument", word, QUOTE)
    what = (text.strip() or type(error).__name__).splitlines()[0]
    return BadInput(what, _where(error, argv, getattr(error, "full_key", None)), SEE_HELP)


def _where(error: Exception, argv: list[str], key: str | None) -> str:
    """The argument that an error speaks of, or all of them."""
    text, (_, words) = str(error), split_flags(argv)
    named = [word for word in words if key and word.lstrip("+~").split("=", 1)[0] == key]
    above = [word for word in words if key and key.startswith(word.split("=", 1)[0] + ".")]
    told = [word for word in words if len(word) > 3 and word in text]
    found = named or told or above or [word for word in words if "${" in word]
    return found[0] if found else key or " ".join(argv)


def _unreadable(argv: list[str]) -> str | None:
    """The first argument that is no override by itself."""
    for word in split_flags(argv)[1]:
        try:
            parsed(word)
        except BadInput as error:
            if error.fix == QUOTE:
                return word
    return None


def advise(name: str, known: dict[str, Key]) -> str:
    """What to do about a key that does not exist; other algorithms' keys are known as such."""
    if name in earlier.NOW:
        return f"this is now {earlier.NOW[name]}"
    owners = [f"algo={a}" for a in algos.names() if name in keys(algos.load(a).Config, "algo")]
    if owners:
        return f"{name} is a key of {' and '.join(owners)}"
    return suggest(name, known)


def training_keys(argv: list[str]) -> dict[str, Key]:
    """Every key that rl-train could set with this command line, by its dotted path."""
    found = {k: v for k, v in keys(RunConfig).items() if k != "algo"}
    found |= dict.fromkeys(GROUPS, Key("name", "", "configuration group"))
    groups = (value_of(argv, "algo") or "dqn").split(",")
    names = [algorithm_of(group, user_folders(argv)) for group in groups]
    classes = [algos.load(name).Config for name in names if name in algos.names()]
    for cls in classes or [AlgoConfig]:
        found |= keys(cls, "algo")
    return found
