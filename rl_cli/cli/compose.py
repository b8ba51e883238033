"""Composing a configuration with Hydra from a command line."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
import shutil
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
    package_folders,
    refuse_another_algorithm,
    user_folders,
)
from rl_cli.cli.hydra_errors import CompositionError, advise, parsed, training_keys
from rl_cli.cli.numbers import expanded
from rl_cli.cli.sweepers import JobFailed
from rl_cli.config.schema import Key
from rl_cli.core.command_line import override
from rl_cli.core.errors import BadInput, RunError


def run_hydra(config_name: str, argv: list[str], task: Callable[[Any], object]) -> None:
    """Compose `config_name` with the overrides and call `task` once per job.

    A single run is composed once; Hydra itself composes it twice, and runs everything else. If `task` has a
    method `run_jobs`, our launchers call it with all jobs of a sweep.

    Raises:
        CompositionError: Hydra could not compose the configuration.
        BadInput: a file that is not shipped contains what only the command line may set.
        Exception: any exception that `task` raises.

    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    with _hydra_kept():
        if not _needs_hydra(argv) and (cfg := _composed(config_name, argv)) is not None:
            task(cfg)
        else:
            _run_hydra_itself(config_name, argv, task)


@contextlib.contextmanager
def _hydra_kept() -> Iterator[None]:
    """Restore Hydra's state of this process: a Python program that trains may use Hydra itself."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    initialized, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = initialized
        HydraConfig.instance().cfg = config


def _run_hydra_itself(config_name: str, argv: list[str], task: Callable[[Any], object]) -> None:
    from rl_cli.cli import hydra_app

    guarded = _GuardedJobs(task) if hasattr(task, "run_jobs") else _Guarded(task)
    try:
        hydra_app.run(config_name, argv, guarded)
    except (RunError, CompositionError):
        raise
    except Exception as error:
        if guarded.raised is None:  # any error of Hydra's is about the command line
            raise CompositionError from error
    if guarded.raised is not None:
        raise guarded.raised


class _Guarded:
    """A task of Hydra's that keeps the first exception, for which Hydra would print its own message."""

    def __init__(self, task: Callable[[Any], object]) -> None:
        self.task = task
        self.raised: Exception | None = None

    def __call__(self, cfg: Any) -> object:
        try:
            return self.task(cfg)
        except JobFailed:  # of a job that another launcher started: for its sweeper
            raise
        except Exception as error:
            self.raised = self.raised or error
            return None


class _GuardedJobs(_Guarded):
    """A task that our launchers give all jobs of a sweep."""

    def run_jobs(self, *args: Any) -> Any:
        try:
            return cast(Any, self.task).run_jobs(*args)
        except Exception as error:
            self.raised = self.raised or error
            raise


HYDRA_RESOLVER = "${hydra:"


def _needs_hydra(argv: list[str]) -> bool:
    """Whether a command line uses more of Hydra than the composition of one configuration."""
    flags, words = split_flags(argv)
    hydra_key = r"[+~]*(hydra(?!\.(sweep\.dir|searchpath)=)|sweep)\b"
    return bool(flags) or any(re.match(hydra_key, word) or HYDRA_RESOLVER in word for word in words)


def _composed(config_name: str, argv: list[str]) -> Any:
    """The configuration of a single run; None: it may be a sweep, or needs Hydra's own start.

    Raises:
        CompositionError: it cannot be composed.
        BadInput: a file that is not shipped is refused.

    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict

    from rl_cli.cli import hydra_app

    try:
        cfg = hydra_app.composed(config_name, argv)
    except BadInput:
        raise
    except Exception as error:
        if any(word.startswith(("experiment=", "hydra.searchpath=")) for word in argv):
            return None  # the file may define a sweep
        raise CompositionError from error
    job = cfg.hydra.job
    if cfg.hydra.mode == RunMode.MULTIRUN or job.chdir or job.env_set or cfg.hydra.callbacks:
        return None
    cfg.hydra.mode = RunMode.RUN
    ours = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    if HYDRA_RESOLVER in OmegaConf.to_yaml(ours):  # `compose` would resolve it wrongly
        return None
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def values(cfg: Any) -> dict[str, Any]:
    """A composed configuration as plain values.

    Raises:
        CompositionError: an interpolation cannot be resolved.

    """
    from omegaconf import OmegaConf

    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except Exception as error:
        raise CompositionError from error


def resolved(value: Any) -> Any:
    """A value that `hydra_errors.parsed` read, with interpolations resolved as in a composed configuration.

    Raises:
        CompositionError: an interpolation cannot be resolved.

    """
    from omegaconf import OmegaConf

    return values(OmegaConf.create({"value": value}))["value"]


def as_typed(overrides: Any) -> list[str]:
    """The overrides of a job, with interpolations unresolved."""
    from omegaconf import OmegaConf

    return cast(list[str], OmegaConf.to_container(overrides, resolve=False))


def plain(argv: list[str]) -> list[str]:
    """The command line of rl-train without Hydra's prefixes `+`, `++` and `~`.

    Raises:
        BadInput: an option does not exist, or a key behind a prefix.

    """
    flags, overrides = split_flags(argv)
    check_flags(flags)

    @functools.cache
    def every() -> dict[str, Key]:
        return {k: v for name in algos.usable() for k, v in training_keys([f"algo={name}"]).items()}

    words = plain_overrides(
        overrides, every, rf"{OPEN_KEYS}\.", lambda key: advise(key, training_keys(argv))
    )
    return flags + expanded([_with_folder(word) for word in words], every)


SWEEP_FOLDER = "hydra.sweep.dir"


def _with_folder(word: str) -> str:
    """An override of the sweep's folder with its path: without prefix, interpolations resolved once."""
    key, _, text = word.partition("=")
    if key.lstrip("+") != SWEEP_FOLDER or not text:
        return word
    return override(SWEEP_FOLDER, _path_of(text))


def _path_of(text: str) -> str:
    """A path as Hydra reads it; one without quotes and escapes as it is, also 2026_11, which Hydra reads as a number."""
    if re.search(r"['\"\\]", text):
        text = str(parsed(f"text={text}", {"text": Key("str", "", "")})[1])
    if "${" not in text:
        return text
    from hydra.core.utils import setup_globals

    setup_globals()  # ${now:...}
    try:
        return str(resolved(text))
    except CompositionError:
        what = "the folder of a sweep cannot depend on a job"
        raise BadInput(what, f"{SWEEP_FOLDER}={text}", "name one folder") from None


def sweep_folder(prepared: list[str]) -> Path:
    """The folder of a sweep. Args: prepared: as of `prepare`."""
    return Path(_path_of(str(value_of(prepared, SWEEP_FOLDER))))


SWEEPS = Path("runs/sweeps")
"""Folder of the folders of sweeps."""

OPEN_KEYS = r"(?:env\.kwargs|callbacks|log\.sinks)"
"""Mappings whose keys are not in the schema."""


def prepare(argv: list[str]) -> list[str]:
    """The command line for Hydra.

    `env.kwargs.x=1` may add a key. `env.id` without `env` selects the group `custom`, or the one of
    Atari games. Tuned values of one env are not applied to another. A conf/ folder in the current
    folder is added to the search path.

    Raises:
        BadInput: a group has no such member, or two choices contradict each other.

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
    out = [re.sub(r"^gpus=([^\[\]'\"]*\w)$", r"gpus=[\1]", arg) for arg in out]  # no sweep
    out += choices_implied(argv, folders)
    out += search_path(argv, folders)
    if value_of(argv, SWEEP_FOLDER) is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out.append(f"hydra.sweep.dir={SWEEPS}/{stamp}_{os.urandom(2).hex()}")
    return flags + out


def search_path(argv: list[str], folders: list[Path]) -> list[str]:
    """The override that adds conf/ in the current folder and in packages to Hydra's search path."""
    added = [f for f in (Path.cwd() / "conf", *package_folders()) if f in folders]
    if not added or value_of(argv, "hydra.searchpath") is not None:
        return []
    paths = (str(folder).replace("\\", "\\\\").replace("'", "\\'") for folder in added)
    listed = ",".join(f"'file://{path}'" for path in paths)
    return [f"hydra.searchpath=[{listed}]"]


def _refuse_contradictions(argv: list[str]) -> None:
    if name := value_of(argv, "algo.name"):
        raise BadInput(
            "algo.name cannot be set; choose the group algo", f"algo.name={name}", f"algo={name}"
        )
    if value_of(argv, "run_dir") is not None and {"-m", "--multirun"} & set(argv):
        raise one_folder(str(value_of(argv, "run_dir")))


def one_folder(run_dir: str) -> BadInput:
    """The refusal of a sweep with `run_dir`."""
    return BadInput(
        "the runs of a sweep cannot share one folder",
        f"run_dir={run_dir}",
        f"remove run_dir, or name the sweep's folder: {SWEEP_FOLDER}=<folder>",
    )


def remove_sweep(folder: Path) -> None:
    """Remove the folder that Hydra made for a sweep that did not start, and runs/ if it is empty then."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in (folder.parent, folder.parent.parent) if folder.parent == SWEEPS else ():
        with contextlib.suppress(OSError):  # not empty, or not there
            parent.rmdir()
