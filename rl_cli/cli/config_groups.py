"""The groups of conf/: what can be chosen by name, and which choices go together."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import yaml

from rl_cli import algos
from rl_cli.cli.arguments import value_of
from rl_cli.core.errors import BadInput, did_you_mean, nearest

PLAIN = re.compile(r"[\w\-/.]+")
"""A name, not a sweep or an expression of Hydra's."""

_PACKAGE = Path(__file__).resolve().parents[1]

CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""Inside the package once installed, beside it in a checkout."""

GROUPS = ("algo", "env", "hparams", "experiment", "sweep")

ANY_ID = "???"
"""The id of a group of envs that share their preparation; one has to be named."""


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
    return sorted(found, key=lambda name: (name != "none", name))


def check_member(group: str, name: str, folders: list[Path]) -> None:
    """Raise BadInput for a name that the group does not have."""
    known = members(group, folders)
    optional = name == "null" and group in ("sweep", "experiment")
    if optional or name in known or (name and not PLAIN.fullmatch(name)):
        return
    every = f"one of: {', '.join(known)}"
    if not name:
        raise BadInput(f"{group}= names nothing", f"{group}=", every)
    if group == "env" and re.search(r"-v\d+$", name):
        ids = [found for g in known if (found := env_id_of(g, folders))]
        fix = f"a gymnasium id is given as env.id={nearest(name, ids) or name}"
    else:
        fix = did_you_mean(name, known, every)
    raise BadInput(f"no {group} called {name}", f"{group}={name}", fix)


def choices_implied(argv: list[str], folders: list[Path]) -> list[str]:
    """What env.id= says about the groups: env=custom without env=, and no values tuned elsewhere."""
    env_id = value_of(argv, "env.id")
    if env_id is None:
        return []
    group = value_of(argv, "env")
    if group is None:
        return [f"env={_family(env_id)}"]
    usual = env_id_of(group, folders)
    if value_of(argv, "hparams") is None and usual != ANY_ID and env_id != usual:
        return ["hparams=none"]
    return []


def _family(env_id: str) -> str:
    """The group of envs that an id belongs to, which names none itself."""
    if env_id.startswith("ALE/"):
        return "atari"
    return "atari_noframeskip" if re.search("NoFrameskip-v[0-9]+$", env_id) else "custom"


def refuse_another_algorithm(argv: list[str], folders: list[Path]) -> None:
    """Raise BadInput for a preset with values of one algorithm where another one is named.

    A preset that sets none of an algorithm's keys goes with any; of a sweep each job has to be fine.
    """
    for name in _given(argv, "experiment"):
        for algo in _given(argv, "algo"):
            if (problem := _contradiction(argv, name, algo, folders)) is not None:
                raise problem


def _contradiction(argv: list[str], name: str, algo: str, folders: list[Path]) -> BadInput | None:
    preset = _file("experiment", name, folders)
    own, env = (_chosen(preset, group) for group in ("algo", "env"))
    if own is None or "algo" not in preset:
        return None
    if not PLAIN.fullmatch(algo) or algorithm_of(algo, folders) == algorithm_of(own, folders):
        return None
    there = value_of(argv, "env") or env or "<env>"
    return BadInput(
        f"experiment={name} is a preset of algo={own}",
        f"experiment={name} algo={algo}",
        f"leave algo={algo} out, or the preset: rl-train algo={algo} env={there}",
    )


def _given(argv: list[str], group: str) -> list[str]:
    """What the command line chooses of a group; several of them in a sweep."""
    return [name.strip() for name in (value_of(argv, group) or "").split(",")]


def _chosen(preset: dict[str, Any], group: str) -> str | None:
    """The member of a group that a preset's defaults name."""
    entries = preset.get("defaults")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(name := entry.get(f"override /{group}"), str):
            return name
    return None


def _file(group: str, name: str, folders: list[Path]) -> dict[str, Any]:
    """What a group's file says; nothing where it cannot be read, of which Hydra will tell."""
    for path in (folder / group / f"{name}.yaml" for folder in folders):
        with contextlib.suppress(OSError, UnicodeError, yaml.YAMLError):
            found = yaml.safe_load(path.read_text())
            return found if isinstance(found, dict) else {}
    return {}


def env_id_of(group: str, folders: list[Path]) -> str | None:
    """The id that an env group begins with."""
    for folder in folders:
        path = folder / "env" / f"{group}.yaml"
        if path.is_file():
            return (yaml.safe_load(path.read_text()) or {}).get("id")
    return None


def env_label(choice: str, config: Any) -> str:
    """Name of the env in paths and titles: the group, or the id of an env without one."""
    env_id = config["env"]["id"]
    if choice != "custom" and env_id == env_id_of(choice, [CONF]):
        return choice
    if choice not in members("env", [CONF]):  # a file of the person's own
        return choice
    return str(config["env"]["id"]).replace(":", "-").replace("/", "-").lower()


def refuse_foreign_values(algo: str, env: str, hparams: str, env_id: str) -> None:
    """Raise BadInput for values tuned for another algorithm or, in an experiment, another env.

    On the command line `prepare` has seen to the env; inside a file nobody has.
    """
    tuned_for = hparams.split("_")[0]
    if tuned_for in algos.names() and tuned_for != algo:
        raise BadInput(
            f"hparams={hparams} holds values of algo={tuned_for}",
            f"algo={algo} hparams={hparams}",
            f"choose algo={tuned_for}, or leave hparams out",
        )
    usual = env_id_of(env, [CONF])
    tuned = hparams in members("hparams", [CONF]) and hparams.endswith(f"_{env}")
    if tuned and usual not in (None, ANY_ID) and env_id != usual:
        raise BadInput(
            f"values tuned for {usual} would be applied to {env_id}",
            f"env={env} hparams={hparams}",
            "add hparams=none, or choose env: custom in the experiment's defaults",
        )


def algorithm_of(group: str, folders: list[Path]) -> str:
    """The algorithm that a member of the group `algo` sets up: rainbow is one of dqn's."""
    for folder in [CONF, *folders]:
        path = folder / "algo" / f"{group}.yaml"
        if path.is_file():
            return str((yaml.safe_load(path.read_text()) or {}).get("name", group))
    return group
