"""The values that a command line would use, and the file that sets each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rl_cli.cli import compose, config_groups, group_names, user_files
from rl_cli.cli.arguments import split_flags
from rl_cli.cli.config_groups import CONF, GROUPS
from rl_cli.cli.presets import preset_label
from rl_cli.core.start_folder import relative

TYPED = "command line"


class Composed(NamedTuple):
    """A composed configuration as plain values, the members of groups that it consists of, its title."""

    values: dict[str, Any]
    choices: dict[str, str]
    title: str


class Used(NamedTuple):
    """Values by their dotted keys, where each was set, and the title of the whole."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    title: str


def composed(words: list[str]) -> Composed:
    """The configuration of the run that a command line would start; of a sweep, that of its first job.

    Raises:
        BadInput: the command line is wrong.
        CompositionError: Hydra cannot compose it.

    """
    user_files.check(words)
    found: list[Composed] = []

    def keep(cfg: Any) -> None:
        from hydra.core.hydra_config import HydraConfig

        choices = {str(k): str(v) for k, v in HydraConfig.get().runtime.choices.items()}
        label = preset_label(choices["hparams"], [CONF, *config_groups.user_folders(words)])
        title = f"algo={choices['algo']} env={choices['env']} ({label})"
        found.append(Composed(compose.values(cfg), choices, title))

    prepared = compose.prepare(words)
    folder = compose.sweep_folder(prepared)
    existed = folder.exists()
    try:
        compose.run_hydra("config", prepared, keep)
    finally:
        if not existed:  # Hydra makes the folder of a sweep
            compose.remove_sweep(folder)
    return found[0]


def used(argv: list[str], known: Mapping[str, Any]) -> Used:
    """The values of the run that a command line would start, by key.

    Args:
        argv: the command line without `--help` and its topics.
        known: keys of the command.

    Raises:
        BadInput, CompositionError: as of `composed`.

    """
    folders = [CONF, *config_groups.user_folders(argv)]
    words = group_names.resolve(compose.plain(argv), folders)
    values, choices, title = composed(words)
    flat = dict(_flat(values, known))
    sources = {key: source for key, source in _sources(choices, folders, known) if key in flat}
    typed = {word.lstrip("+").partition("=")[0] for word in split_flags(words)[1]} - {*GROUPS}
    sources |= {key: TYPED for key in flat if any(f"{key}.".startswith(f"{t}.") for t in typed)}
    return Used(flat, sources, title)


def _sources(
    choices: Mapping[str, str], folders: list[Path], known: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Each key that a file sets, with the file, in the order of composition."""
    for path in [CONF / "config.yaml", *_files(choices, folders)]:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        group = path.parent.name
        if isinstance(content, dict):
            inside = {group: content} if group in ("algo", "env") else content
            shown = (
                f"{group}/{path.name}" if CONF in path.parents and group != CONF.name else path.name
            )
            name = shown if CONF in path.parents else relative(path)
            yield from ((key, name) for key, _ in _flat(inside, known))


def _files(choices: Mapping[str, str], folders: list[Path]) -> Iterator[Path]:
    for group in ("algo", "env", "hparams", "sweep", "experiment"):
        yield from _with_defaults(group, choices.get(group, "null"), folders)


def _with_defaults(group: str, name: str, folders: list[Path]) -> Iterator[Path]:
    """The file of a group's member after those that its defaults list names."""
    path = next((p for f in folders if (p := f / group / f"{name}.yaml").is_file()), None)
    if path is None:
        return
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    defaults = content.get("defaults") if isinstance(content, dict) else None
    for entry in defaults if isinstance(defaults, list) else []:
        if isinstance(entry, str) and entry != "_self_" and entry != name:
            yield from _with_defaults(group, entry, folders)
    yield path


def _flat(
    values: Mapping[str, Any], known: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any]]:
    """The known keys in nested values, with their values."""
    for name, value in values.items():
        key = f"{path}.{name}" if path else str(name)
        if key in known:
            yield key, value
        elif isinstance(value, Mapping):
            yield from _flat(value, known, key)
