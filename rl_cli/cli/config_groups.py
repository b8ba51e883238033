"""The groups of conf/: their members, and which choices are compatible."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import yaml

from rl_cli import algos
from rl_cli.cli.arguments import text_of, value_of
from rl_cli.core.errors import BadInput, did_you_mean, nearest
from rl_cli.core.plugins import conf_folders

PLAIN = re.compile(r"[\w\-/.]+")
"""A name, as opposed to a sweep or an expression of Hydra's."""

_PACKAGE = Path(__file__).resolve().parents[1]

CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""In the package once installed, next to it in a checkout."""

GROUPS = ("algo", "env", "hparams", "experiment", "sweep")

VARIANTS = {
    **dict.fromkeys(["ddqn", "doubledqn", "doubleqlearning"], "algo=dqn algo.bootstrap=double"),
    **dict.fromkeys(["duelingdqn", "duelingddqn"], "algo=dqn algo.dueling=true"),
    **dict.fromkeys(["noisydqn", "noisynet"], "algo=dqn algo.noisy=true"),
    **dict.fromkeys(
        ["c51", "categoricaldqn", "distributionaldqn"], "algo=dqn algo.distributional=c51"
    ),
    **dict.fromkeys(["qrdqn", "quantiledqn"], "algo=dqn algo.distributional=qr"),
    **dict.fromkeys(["per", "perdqn", "prioritizeddqn"], "algo=dqn algo.replay=proportional"),
    **dict.fromkeys(["sarsa", "deepsarsa"], "algo=dqn algo.bootstrap=sarsa"),
    **dict.fromkeys(["qlearning", "deepqlearning"], "algo=dqn"),
    **dict.fromkeys(["vpg", "pg", "policygradient", "mcpg"], "algo=reinforce"),
    **dict.fromkeys(["ppo2", "ppo1", "ppoclip", "maskableppo", "recurrentppo"], "algo=ppo"),
}
"""Methods that are a set of switches here, or have another name -> what to write."""

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader in C, if PyYAML was built with it. For shipped files only: deep nesting crashes it."""

ANY_ID = "???"
"""Missing id of an env group that serves several envs; the command line must give it."""


def user_folders(argv: list[str]) -> list[Path]:
    """Configuration folders that are not shipped: --config-dir, conf/ in the current folder, packages."""
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
        and any((here / g).is_dir() for g in (*GROUPS, "space"))
    ):
        folders.append(here)
    return folders + package_folders()


def package_folders() -> list[Path]:
    """Folders of configuration files of the packages that provide algorithms."""
    return conf_folders(algos.REGISTRY.group)


def members(group: str, folders: list[Path]) -> list[str]:
    """Names that can be given to `group=`."""
    found = {p.stem for f in folders for p in (f / group).glob("*.yaml") if p.stem[0] != "_"}
    return sorted(found, key=lambda name: (name != "none", name))


def check_member(group: str, name: str, folders: list[Path]) -> None:
    """Raise BadInput for a name that the group does not have."""
    known = members(group, folders)
    optional = name == "null" and group in ("sweep", "experiment")
    module = group == "env" and re.fullmatch(r"[\w.]+:[\w\-./]+", name)
    if optional or name in known or (name and not PLAIN.fullmatch(name) and not module):
        return
    every = f"one of: {', '.join(known)}"
    if not name:
        raise BadInput(f"{group}= has no value", f"{group}=", every)
    fix = did_you_mean(name, known, every)
    if group == "env" and re.search(r"-v\d+$", name):
        ids = {found: g for g in known if (found := env_id_of(g, folders))}
        near = nearest(name, ids)
        fix = f"a gymnasium id is given as env.id={name}"
        fix = f"env={ids[near]}, or env.id={name} if that is another env" if near else fix
    elif group == "algo" and name in algos.names():
        what = f"the package of the algorithm {name} has no file {name}.yaml with its values"
        raise BadInput(
            what,
            f"algo={name}",
            f"add <package>/conf/algo/{name}.yaml, or conf/algo/{name}.yaml here",
        )
    elif group == "algo" and (variant := VARIANTS.get(re.sub(r"[-_ ]", "", name.lower()))):
        fix = f"write {variant}"
    raise BadInput(f"no {group} called {name}", f"{group}={name}", fix)


def choices_implied(argv: list[str], folders: list[Path]) -> list[str]:
    """Choices that env.id= implies: a group without env=, and no tuned values for another id."""
    env_id = text_of(argv, "env.id")
    if env_id is None:
        return []
    group = value_of(argv, "env")
    if group is None:
        return [f"env={family(env_id)}"]
    usual = env_id_of(group, folders)
    if value_of(argv, "hparams") is None and usual != ANY_ID and env_id != usual:
        return ["hparams=none"]
    return []


def family(env_id: str) -> str:
    """The group without an id that fits an env id."""
    if env_id.removeprefix("ale_py:").startswith("ALE/"):
        return "atari"
    return "atari_noframeskip" if re.search("NoFrameskip-v[0-9]+$", env_id) else "custom"


def refuse_another_algorithm(argv: list[str], folders: list[Path]) -> None:
    """Raise BadInput for a preset with values of one algorithm combined with another algorithm.

    A preset without keys of an algorithm is compatible with all. In a sweep every job is checked.
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
        f"remove algo={algo}, or the preset: rl-train algo={algo} env={there}",
    )


def _given(argv: list[str], group: str) -> list[str]:
    """Members of a group on the command line; several in a sweep."""
    return [name.strip() for name in (value_of(argv, group) or "").split(",")]


def _chosen(preset: dict[str, Any], group: str) -> str | None:
    """The member of a group that a preset's defaults list chooses."""
    entries = preset.get("defaults")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(name := entry.get(f"override /{group}"), str):
            return name
    return None


def _file(group: str, name: str, folders: list[Path]) -> dict[str, Any]:
    """Content of a group's file; empty if it cannot be read, which Hydra reports later."""
    with contextlib.suppress(OSError, UnicodeError, yaml.YAMLError):
        found = _read(group, name, folders)
        return found if isinstance(found, dict) else {}
    return {}


def _read(group: str, name: str, folders: list[Path]) -> Any:
    """What the first file of that name contains; None: there is none."""
    for folder in folders:
        path = folder / group / f"{name}.yaml"
        if path.is_file():
            loader = _FAST if folder == CONF else yaml.SafeLoader
            try:
                return loader(path.read_text(encoding="utf-8")).get_single_data()
            except UnicodeError:
                raise
            except (RecursionError, ValueError) as error:  # no number or date of Python's
                raise yaml.YAMLError(str(error)) from None
    return None


def is_readable(group: str, name: str, folders: list[Path]) -> bool:
    """Whether the file of a group's member is YAML."""
    try:
        _read(group, name, folders)
    except (OSError, UnicodeError, yaml.YAMLError):
        return False
    return True


def env_id_of(group: str, folders: list[Path]) -> str | None:
    """The id in the file of an env group, or in that of the group that it extends; None: there is none."""
    seen: set[str] = set()
    while group not in seen:  # files of a user may extend each other
        seen.add(group)
        content = _file("env", group, folders)
        if content.get("id") is not None:
            return str(content["id"])
        entries = content.get("defaults")
        names = (
            [name for name in entries if isinstance(name, str)] if isinstance(entries, list) else []
        )
        group = next((name for name in names if not name.startswith("_")), group)
    return None


def env_label(choice: str, config: Any) -> str:
    """Name of the env in paths and titles: the group, or the id of an env without a group."""
    env_id = config["env"]["id"]
    if choice != "custom" and env_id == env_id_of(choice, [CONF]):
        return choice
    if choice not in members("env", [CONF]):  # a file of the user
        return choice
    return str(config["env"]["id"]).replace(":", "-").replace("/", "-").lower()


def refuse_foreign_values(algo: str, env: str, hparams: str, env_id: str) -> None:
    """Raise BadInput for values tuned for another algorithm or, in an experiment, another env.

    `compose.prepare` checks an env on the command line; this checks one in an experiment file.
    """
    tuned_for = hparams.split("_")[0]
    if tuned_for in algos.names() and tuned_for != algo:
        raise BadInput(
            f"hparams={hparams} holds values of algo={tuned_for}",
            f"algo={algo} hparams={hparams}",
            f"choose algo={tuned_for}, or remove hparams",
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
    """The algorithm of a member of the group `algo`: dqn for rainbow."""
    return str(_file("algo", group, [CONF, *folders]).get("name", group))


def chosen_by(experiment: str, group: str, folders: list[Path]) -> str | None:
    """The member of a group that an experiment file chooses; None: it chooses none."""
    return _chosen(_file("experiment", experiment, folders), group)
