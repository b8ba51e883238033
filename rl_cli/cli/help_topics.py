"""What `--help <topic>` shows: a group of choices, a member of one, a group of keys, or one key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rl_cli import algos
from rl_cli.cli import group_names, hydra_errors
from rl_cli.cli.arguments import value_of
from rl_cli.cli.config_groups import (
    ANY_ID,
    CONF,
    GROUPS,
    algorithm_of,
    env_id_of,
    is_readable,
    members,
)
from rl_cli.cli.help_values import Used, used
from rl_cli.cli.layout import item, key_entry, names, paragraph, value_text
from rl_cli.cli.presets import STATUS, YOURS, preset_file, preset_label, preset_status
from rl_cli.config.other_names import ours_of, plain_name, say
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import Key, keys
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput

LEGEND = (
    "There are values for these algorithms. tuned: over the bar in docs/learning.md; "
    + "; ".join(f"{text.split()[0]}: {text}" for text in STATUS.values() if " " in text)
    + "."
)
"""What the words in front of the algorithms of an env mean."""


def choices(folders: list[Path]) -> list[str]:
    """Algorithms, envs, presets and the other groups, with the member that is the default marked."""
    envs_of = {f"{name}{_default(name)}": text for name, text in envs(folders).items()}
    algos_of = {f"{name}{_default(name)}": text for name, text in algorithms(folders).items()}
    presets = experiments(folders)
    parts = ["algorithms: algo=<name>", *(item(*each) for each in algos_of.items())]
    parts += ["", "envs: env=<name>", paragraph(LEGEND, 2)]
    parts += [item(*each) for each in envs_of.items()]
    parts += ["", "presets: experiment=<name>", *(item(*each) for each in presets.items())]
    for group in ("hparams", "sweep"):
        parts += ["", f"{group}=<name>", names(members(group, folders))]
    return parts


def _default(name: str) -> str:
    return " (default)" if name in ("dqn", "cartpole") else ""


def algorithms(folders: list[Path]) -> dict[str, str]:
    """Each member of the group `algo`, with its description."""
    texts = {name: algos.summary(name) for name in algos.names()}
    more = [name for name in members("algo", folders) if name not in texts]
    return texts | {name: _first_comment("algo", name, folders) for name in more}


def envs(folders: list[Path], with_values: bool = True) -> dict[str, str]:
    """Each member of the group `env`: its id, and the algorithms that have values for it, by status."""
    return {name: _env_text(name, folders, with_values) for name in members("env", folders)}


def experiments(folders: list[Path]) -> dict[str, str]:
    """Each experiment, with its description."""
    return {
        name: _first_comment("experiment", name, folders) for name in members("experiment", folders)
    }


def _env_text(name: str, folders: list[Path], with_values: bool) -> str:
    if not is_readable("env", name, folders):
        return "(not readable as YAML)"
    found = env_id_of(name, folders)
    text = "any game: env.id=<id>" if found == ANY_ID else found or "any other: env.id=<id>"
    text += ", continuous actions" if name == "lunarlander_continuous" else ""
    by_status: dict[str, list[str]] = {text: [] for text in (*STATUS.values(), YOURS)}
    for algo in members("algo", folders) if with_values else ():
        if preset_file(f"{algo}_{name}", folders) is not None:
            by_status[preset_status(algo, name, folders)].append(algo)
    stated = [f"{each.split()[0]}: {', '.join(of)}" for each, of in by_status.items() if of]
    return "; ".join([text, *stated])


def topic(name: str, argv: list[str], folders: list[Path]) -> str:
    """The help on one topic.

    Raises:
        BadInput: there is no such topic.

    """
    group, equals, member = name.partition("=")
    if equals and group in GROUPS:
        return _member(group, member, folders)
    if name in GROUPS:
        listed = _group(name, folders)
        known = training_schema(argv) if value_of(argv, "algo") else _every_key()
        inside = {k: v for k, v in known.items() if k.startswith(f"{name}.")}
        return "\n".join([*listed, *(["", *_key_entries(inside, argv)] if inside else [])])
    for each in ("algo", "env", "experiment", "hparams", "sweep"):
        if _ours(each, name, folders) in members(each, folders) and name != "none":
            return _member(each, name, folders)
    every = _every_key()
    key = plain_name(name)
    inside = {k: v for k, v in every.items() if k == key or k.startswith(f"{key}.")}
    inside = inside or {k: v for k, v in every.items() if k.rpartition(".")[2] == key}
    if not inside and (ours := [k for k in ours_of(name) if k in every]):
        answers = [
            f"{name}: {say(name, ours[0])}",
            *_key_entries({k: every[k] for k in ours}, argv),
        ]
        return "\n".join(answers)
    if not inside:
        raise BadInput(f"no help on {name}", f"--help {name}", hydra_errors.advise(name, every))
    return "\n".join(_key_entries(inside, argv))


def _group(group: str, folders: list[Path]) -> list[str]:
    """The members of a group, each with what it is."""
    if group in ("hparams", "sweep"):
        texts = {name: _described(group, name, folders) for name in members(group, folders)}
    else:
        listed = {"algo": algorithms, "env": envs, "experiment": experiments}[group]
        texts = listed(folders)
    legend = [paragraph(LEGEND)] if group == "env" else []
    return [f"{group}=<name>", *legend, *(item(*each) for each in texts.items())]


def _described(group: str, name: str, folders: list[Path]) -> str:
    if group == "hparams" and preset_file(name, folders) is not None:
        return preset_label(name, folders).partition(":")[0]
    return _first_comment(group, name, folders)


def _ours(group: str, name: str, folders: list[Path]) -> str:
    """Our name for a member of a group."""
    if group == "env":
        return group_names.env_group(name, folders) or name
    return name.lower() if group == "algo" else name


def _member(group: str, name: str, folders: list[Path]) -> str:
    """One algorithm with its keys, or the file of another group's member."""
    name = _ours(group, name, folders)
    path = next((p for f in folders if (p := f / group / f"{name}.yaml").is_file()), None)
    if path is None:
        fix = f"one of: {', '.join(members(group, folders))}"
        raise BadInput(f"no {group} called {name}", f"--help {group}={name}", fix)
    text = {"algo": algorithms, "env": envs, "experiment": experiments}.get(group)
    title = text(folders)[name] if text else _described(group, name, folders)
    head = paragraph(f"{group}={name}: {title}")
    if group == "algo":
        values = {"algo": default_values(f"algo/{name}.yaml", folders)}
        known = keys(algos.config_class(algorithm_of(name, folders)), "algo")
        entries = [key_entry(k, lookup(values, k), v.describe()) for k, v in known.items()]
        return "\n".join([head, "", *entries])
    return f"{head}\n\n{path.read_text(encoding='utf-8', errors='replace').rstrip()}"


def _key_entries(inside: dict[str, Key], argv: list[str]) -> list[str]:
    """Keys with the values that the command line would use, or with the default of each algorithm."""
    found = values_used(argv)
    if found is not None:
        return [
            key_entry(name, found.values.get(name), key.describe(), found.sources.get(name, ""))
            for name, key in inside.items()
            if name in found.values
        ]
    defaults = default_values("config.yaml") | {"env": default_values("env/_base.yaml")}
    entries = []
    for name, key in inside.items():
        entry = key_entry(name, lookup(defaults, name), key.describe())
        if name.startswith("algo."):
            by_algo = {a: default_values(f"algo/{a}.yaml") for a in members("algo", [CONF])}
            values = {a: lookup({"algo": v}, name) for a, v in by_algo.items() if name[5:] in v}
            shown = " ".join(f"{a}:{value_text(v).replace(' ', '')}" for a, v in values.items())
            entry = key_entry(name, shown, key.describe())
        entries.append(entry)
    return entries


OF_A_RUN = ("algo", "env", "env.id", "experiment", "hparams")
"""Keys that say which run's values are shown."""


def values_used(argv: list[str]) -> Used | None:
    """The values of a command line; None: it names no run, or is wrong, which is reported on stderr."""
    if not any(value_of(argv, key) for key in OF_A_RUN):
        return None
    try:
        return used(argv, training_schema(argv))
    except BadInput as error:
        terminal.warn(*str(error).splitlines())
    except hydra_errors.CompositionError as error:
        cause = error.__cause__
        if isinstance(cause, Exception):
            said = hydra_errors.explain(cause, argv, lambda: training_schema(argv))
            terminal.warn(*str(said).splitlines())
    return None


def training_schema(argv: list[str]) -> dict[str, Key]:
    """The keys of rl-train with this command line, without groups."""
    return {k: v for k, v in hydra_errors.training_keys(argv).items() if k not in GROUPS}


def _every_key() -> dict[str, Key]:
    found = keys(RunSettings)
    for name in algos.usable():
        found |= keys(algos.config_class(name), "algo")
    return found


def lookup(values: Any, path: str) -> Any:
    """The value at a dotted path of nested values; None: there is none."""
    node = values
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def default_values(name: str, folders: list[Path] | None = None) -> dict[str, Any]:
    """The values of a file in conf/, with those that its defaults list names; empty: there is no such file."""
    for folder in folders or [CONF]:
        path = folder / name
        if path.is_file():
            try:
                found = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, ValueError, RecursionError):  # reported where it is composed
                return {}
            found = found if isinstance(found, dict) else {}
            group = name.rpartition("/")[0]
            listed = found.get("defaults")
            listed = listed if isinstance(listed, list) else []
            base = [d for d in listed if isinstance(d, str) and d != "_self_"]
            below: dict[str, Any] = {}
            for each in base if group else ():
                below |= default_values(f"{group}/{each}.yaml", folders)
            return below | found
    return {}


def _first_comment(group: str, name: str, folders: list[Path]) -> str:
    """The comment in the first line of a group's file, which describes it."""
    path = next(p for f in folders if (p := f / group / f"{name}.yaml").is_file())
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    shown = (line for line in lines if not line.startswith(("# @package", "# status:")))
    first, *_ = [*shown, ""]
    return first.removeprefix("# ").split(": rl-train")[0] if first.startswith("#") else ""
