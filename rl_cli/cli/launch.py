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
from typing import Any

import yaml

from rl_cli import algos
from rl_cli.config import AlgoConfig, Key, RunConfig, keys, suggest
from rl_cli.errors import BadInput, RunError, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""Inside the package once installed, beside it in a checkout."""
GROUPS = ("algo", "env", "hparams", "experiment", "sweep")
INTERRUPTED = (129, 130, 138, 143)


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
    except Exception as error:
        translated = explain(error, argv, known)
        if translated is None or os.environ.get("RL_CLI_DEBUG"):
            traceback.print_exc()
            code[0] = 1 if translated is None else translated.exit_code
        else:
            print(translated, file=sys.stderr)
            code[0] = translated.exit_code


def run_hydra(config_name: str, argv: list[str], task: Callable[[Any], object]) -> None:
    """Compose `config_name` with the overrides and call `task` once per job.

    Raises:
        Whatever Hydra raises; see `explain`.

    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise to us rather than print and exit
    import hydra

    raised: list[Exception] = []

    def guarded(cfg: Any) -> object:
        try:
            return task(cfg)
        except Exception as error:  # kept from Hydra, which would print a line of its own
            raised.append(error)
            return None

    sys.argv = [sys.argv[0], *argv]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(guarded)()
    if raised:
        raise raised[0]


def value_of(argv: list[str], key: str) -> str | None:
    """The value given to `key=` on the command line, the last one if there are more."""
    given = [arg.split("=", 1)[1] for arg in argv if arg.split("=", 1)[0] == key and "=" in arg]
    return given[-1] if given else None


def prepare(argv: list[str]) -> list[str]:
    """The command line as Hydra should see it.

    env.kwargs.x=1 may name a new key; a bare env.id chooses the `custom` group; tuned values of
    one env are not applied to another; a conf/ folder here joins the search path.

    Raises:
        BadInput: a group has no such member.

    """
    _refuse_contradictions(argv)
    folders = [CONF, *user_folders(argv)]
    for group in GROUPS:
        for name in (value_of(argv, group) or "").split(","):
            check_member(group, name.strip(), folders)
    flags, overrides = split_flags(argv)
    out = [re.sub(r"^env\.kwargs\.", "++env.kwargs.", arg) for arg in overrides]
    out += _choices_implied(argv, folders)
    here = Path.cwd() / "conf"
    if here in folders and value_of(argv, "hydra.searchpath") is None:
        quoted = str(here).replace("\\", "\\\\").replace("'", "\\'")
        out.append(f"hydra.searchpath=['file://{quoted}']")
    if value_of(argv, "hydra.sweep.dir") is None:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out.append(f"hydra.sweep.dir=runs/sweeps/{stamp}_{os.urandom(2).hex()}")
    return flags + out


def _refuse_contradictions(argv: list[str]) -> None:
    if name := value_of(argv, "algo.name"):
        raise BadInput("an algorithm is chosen by its group", f"algo.name={name}", f"algo={name}")
    if value_of(argv, "run_dir") is not None and {"-m", "--multirun"} & set(argv):
        raise BadInput(
            "the runs of a sweep cannot share one folder",
            f"run_dir={value_of(argv, 'run_dir')}",
            "leave run_dir out, or name the sweep's folder: hydra.sweep.dir=<folder>",
        )


FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--package", "-p", "--info", "-i"),
)


def split_flags(argv: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's own flags with their values, and the overrides; Hydra wants each kind together."""
    flags: list[str] = []
    overrides: list[str] = []
    for i, arg in enumerate(argv):
        value = i > 0 and argv[i - 1] in FLAGS_WITH_VALUE and "=" not in arg
        (flags if arg.startswith("-") or value else overrides).append(arg)
    return flags, overrides


def user_folders(argv: list[str]) -> list[Path]:
    """Configuration folders of the person's own: --config-dir, and conf/ in the current folder."""
    folders = []
    for i, arg in enumerate(argv):
        if arg in ("--config-dir", "-cd") and i + 1 < len(argv):
            folders.append(Path(argv[i + 1]).resolve())
        elif arg.startswith("--config-dir="):
            folders.append(Path(arg.split("=", 1)[1]).resolve())
    here = Path.cwd() / "conf"
    if (
        here.is_dir()
        and here.resolve() != CONF.resolve()
        and any((here / g).is_dir() for g in GROUPS)
    ):
        folders.append(here)
    return folders


def members(group: str, folders: list[Path]) -> list[str]:
    """Names that can be given to `group=`."""
    found = {p.stem for f in folders for p in (f / group).glob("*.yaml") if p.stem[0] != "_"}
    return sorted(found)


def check_member(group: str, name: str, folders: list[Path]) -> None:
    """Raise BadInput for a name that the group does not have."""
    known = members(group, folders)
    optional = name == "null" and group in ("sweep", "experiment")
    if not name or optional or name in known or not re.fullmatch(r"[\w\-/.]+", name):
        return
    fix = did_you_mean(name, known, f"one of: {', '.join(known)}")
    if group == "env" and re.search(r"-v\d+$", name):
        fix = f"a gymnasium id is given as env.id={name}"
    raise BadInput(f"no {group} called {name}", f"{group}={name}", fix)


def _choices_implied(argv: list[str], folders: list[Path]) -> list[str]:
    """What env.id= says about the groups: env=custom without env=, and no values tuned elsewhere."""
    env_id = value_of(argv, "env.id")
    if env_id is None:
        return []
    group = value_of(argv, "env")
    if group is None:
        return ["env=custom"]
    if value_of(argv, "hparams") is None and env_id != env_id_of(group, folders):
        return ["hparams=none"]
    return []


def env_id_of(group: str, folders: list[Path]) -> str | None:
    """The id that an env group begins with."""
    for folder in folders:
        path = folder / "env" / f"{group}.yaml"
        if path.is_file():
            return (yaml.safe_load(path.read_text()) or {}).get("id")
    return None


def refuse_foreign_values(env: str, hparams: str, env_id: str) -> None:
    """Raise BadInput where an experiment puts another env under values tuned for its group.

    On the command line `prepare` has seen to it; inside a file nobody has.
    """
    usual = env_id_of(env, [CONF])
    tuned = hparams in members("hparams", [CONF]) and hparams.endswith(f"_{env}")
    if tuned and usual is not None and env_id != usual:
        raise BadInput(
            f"values tuned for {usual} would be applied to {env_id}",
            f"env={env} hparams={hparams}",
            "add hparams=none, or choose env: custom in the experiment's defaults",
        )


def explain(
    error: Exception, argv: list[str], known: Callable[[], dict[str, Key]]
) -> RunError | None:
    """A Hydra or OmegaConf error in our words; None for any other error, which is a bug."""
    if not type(error).__module__.startswith(("hydra", "omegaconf", "antlr4", "yaml")):
        return None
    text = str(error)
    if found := re.search(r"Could not override '([^']+)'", text):
        name = found[1]
        where = next((a for a in argv if a.lstrip("+~").split("=", 1)[0] == name), name)
        return BadInput(f"unknown key {name}", where, suggest(name, known()))
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, name = found[1].rpartition("/")
        return BadInput(f"no {group or 'config'} called {name}", found[1], "see rl-train --help")
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        fix = "several values are a sweep: rl-train -m ...; a list is written [a,b]"
        return BadInput("several values for one run", found[1], fix)
    if "arsing override" in text or type(error).__name__ == "OverrideParseException":
        bad = getattr(error, "override", "") or text.splitlines()[0]
        return BadInput(
            "cannot read this argument",
            str(bad),
            "write key=value; quote what the shell or commas would split",
        )
    return BadInput(text.strip().splitlines()[0], " ".join(argv)[:200], "see rl-train --help")


def training_keys(argv: list[str]) -> dict[str, Key]:
    """Every key that rl-train could set with this command line, by its dotted path."""
    found = {k: v for k, v in keys(RunConfig).items() if k != "algo"}
    found |= dict.fromkeys(GROUPS, Key("name", "", "configuration group"))
    name = (value_of(argv, "algo") or "dqn").split(",")[0]
    cls = algos.load(name).Config if name in algos.names() else AlgoConfig
    return found | keys(cls, "algo")
