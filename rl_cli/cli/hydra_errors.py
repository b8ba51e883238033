"""Exceptions of a command become three lines on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import yaml

from rl_cli import algos
from rl_cli.cli.arguments import split_flags, value_of
from rl_cli.cli.config_groups import (
    GROUPS,
    algorithm_of,
    user_folders,
)
from rl_cli.cli.option_forms import ANSWERS
from rl_cli.config import other_names
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.other_names import plain_name
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import SEE_HELP, Key, keys, suggest
from rl_cli.core import stop_signals, terminal
from rl_cli.core.command_line import pasted, quoted
from rl_cli.core.errors import BadInput, RunError, plain
from rl_cli.tracking.console import warn_fitted

INTERRUPTED = (129, 130, 138, 143)


class CompositionError(Exception):
    """Hydra could not compose the configuration; `__cause__` is Hydra's exception."""


def warn(error: RunError) -> None:
    """Print the lines of an error; on a terminal they are broken between words."""
    for line in str(error).splitlines():
        warn_fitted(line, indent=4)


@contextlib.contextmanager
def reported(argv: list[str], known: Callable[[], dict[str, Key]]) -> Iterator[list[int]]:
    """Run the body; print an error as three lines and put the exit code into the yielded list.

    Args:
        argv: the command line, for the line "where".
        known: returns the keys of the command, for suggestions.

    """
    code = [0]
    try:
        with explained(argv, known):
            yield code
    except RunError as error:
        if os.environ.get("RL_CLI_DEBUG"):
            terminal.warn_traceback()
        warn(error)
        code[0] = error.exit_code
    except KeyboardInterrupt as stop:
        code[0] = 128 + stop_signals.signal_of(stop)
    except BaseException as error:
        if isinstance(error, Exception) and stop_signals.received() is not None:
            code[0] = 128 + stop_signals.signal_of(None)  # a signal ended an import, which failed
            return
        terminal.warn_traceback()  # a bug, or a plugin that exits: never code 0
        code[0] = 1


NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of texts that cannot be the path of a file."""

SHOWN = 60
"""Characters of such a path in a message."""


@contextlib.contextmanager
def explained(argv: list[str], known: Callable[[], dict[str, Key]]) -> Iterator[None]:
    """Run the body; raise an error of Hydra's, and a path that no file can have, as BadInput.

    Arguments: as of `reported`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_PATH:
            raise
        what = f"this path cannot be used: {error.strerror}"
        shown = plain(str(error.filename))
        where = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
        raise BadInput(what, where, "name an existing file or folder") from None
    except CompositionError as error:
        raise explain(cast(Exception, error.__cause__), argv, known) from error


def parsed(word: str, known: Mapping[str, Key]) -> tuple[str, Any]:
    """Key and value of one override, parsed by Hydra.

    Args:
        word: the override.
        known: keys that exist, for the error message.

    Raises:
        BadInput: it is no override, or has several values.

    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    try:
        override = OverridesParser.create().parse_override(word)
        value = None if override.is_sweep_override() else override.value()
    except Exception:
        raise _unreadable(word, known) from None
    if override.is_sweep_override():
        raise BadInput("several values for one run", word, "give one value")
    return override.key_or_group, value


UNREADABLE = "cannot read this argument"

QUOTE = "write key=value; quote spaces and commas"

TEXT_KEYS = re.compile(r"(env\.kwargs|callbacks|log\.sinks|hydra)\.")
"""Keys outside of the schema, whose values may be texts."""


def _unreadable(word: str, known: Mapping[str, Key]) -> BadInput:
    """The refusal of an argument that Hydra cannot parse; for a text, with what to type instead."""
    name, _, text = word.partition("=")
    key = name.lstrip("+")
    is_text = key in known and re.search(r"\bstr\b", known[key].type)
    fix = QUOTE
    if text and (is_text or TEXT_KEYS.match(key)):
        text = os.path.expanduser(text) if text.startswith("~/") else text
        fix = f"for this text, type {pasted(f'{name}={quoted(text)}')}"
    return BadInput(UNREADABLE, word, fix)


def unquoted(text: str) -> str:
    """A text that may be in the quotes of Hydra. A path without them is taken as it is."""
    if text[:1] not in ("'", '"'):
        return text
    value = parsed(f"text={text}", {"text": Key("str", "", "")})[1]
    return str(value)


def explain(error: Exception, argv: list[str], known: Callable[[], dict[str, Key]]) -> BadInput:
    """The error message for an exception of Hydra's."""
    if (broken := _not_yaml(error)) is not None:
        return broken
    text = f"{error}\n{error.__cause__ or ''}"
    inside = re.search(r"not in struct\s+full_key: (\S+)", text)
    if found := inside or re.search(r"Could not override '([^']+)'", text):
        name = found[1]
        fix = advise(name, _settings(argv) if name.startswith(LAUNCHER) else known())
        return BadInput(f"unknown key {name}", _where(error, argv, name), fix)
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, name = found[1].rpartition("/")
        what = f"no {group or 'config'} called {name}" if name else f"{group}= has no value"
        return BadInput(what, f"{group}={name}", _members(group))
    if found := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", text):
        fix = "several values are a sweep: rl-train -m ...; a list is written [a,b]"
        return BadInput("several values for one run", found[1], fix)
    if found := re.search(r"Could not delete from config. '([^']+)'", text):
        return BadInput(f"{found[1]} does not exist", f"~{found[1]}", "remove this argument")
    if (refusal := _first_unreadable(argv, known)) is not None:
        return refusal
    if found := re.search(r"(Value '.*' of type '\w+' could not be converted to \w+)", text):
        return BadInput(found[1], _where(error, argv, getattr(error, "full_key", None)), SEE_HELP)
    what = (text.strip() or type(error).__name__).splitlines()[0]
    return BadInput(what, _where(error, argv, getattr(error, "full_key", None)), SEE_HELP)


LAUNCHER = "hydra.launcher."


def _settings(argv: list[str]) -> dict[str, Key]:
    """The settings of the launcher that the command line chooses, by their dotted paths."""
    from hydra.core.config_store import ConfigStore

    try:
        chosen = ConfigStore.instance().load(
            f"hydra/launcher/{value_of(argv, 'hydra/launcher')}.yaml"
        )
    except OSError:  # there is none of this name
        return {}
    names = (str(name) for name in chosen.node if not str(name).startswith("_"))
    return {LAUNCHER + name: Key("setting", "", "of the launcher") for name in names}


MORE = {
    "hydra/launcher": "joblib comes with its package: pip install 'rl-cli[joblib]'",
    "hydra/sweeper": "others come with their packages. rl-search searches for values without one",
}
"""Groups of Hydra's plugins, and what to know besides the members that are installed."""


def _members(group: str) -> str:
    """The names in a group of Hydra's plugins, of ours and of packages that are installed."""
    if group not in MORE:
        return SEE_HELP
    from hydra.core.config_store import ConfigStore

    names = sorted(n.removesuffix(".yaml") for n in ConfigStore.instance().list(group))
    return f"one of {', '.join(names)}; {MORE[group]}"


def _not_yaml(error: BaseException | None) -> BadInput | None:
    """The message for a file that is not YAML or not UTF-8, with its line; None: another error."""
    while error is not None:
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            mark = error.problem_mark
            why = " ".join(part for part in (error.context, error.problem) if part)
            where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"
            return BadInput(f"this file is not YAML: {why}", where, "correct this line")
        if isinstance(error, yaml.reader.ReaderError):
            return BadInput("this file is not YAML in UTF-8", str(error.name), "save it in UTF-8")
        if isinstance(error, UnicodeDecodeError):
            return BadInput(f"a file is not UTF-8: {error}", "", "save your files in UTF-8")
        error = error.__cause__ or error.__context__
    return None


def _where(error: Exception, argv: list[str], key: str | None) -> str:
    """The argument that an error is about, or the whole command line."""
    text, (_, words) = str(error), split_flags(argv)
    named = [word for word in words if key and word.lstrip("+~").split("=", 1)[0] == key]
    above = [word for word in words if key and key.startswith(word.split("=", 1)[0] + ".")]
    quoted = [word for word in words if len(word) > 3 and word in text]
    found = named or quoted or above or [word for word in words if "${" in word]
    return found[0] if found else key or " ".join(argv)


def _first_unreadable(argv: list[str], known: Callable[[], dict[str, Key]]) -> BadInput | None:
    """The refusal of the first argument that Hydra cannot parse as an override."""
    for word in split_flags(argv)[1]:
        try:
            parsed(word, known())
        except BadInput as error:
            if error.what == UNREADABLE:
                return error
    return None


def advise(name: str, known: dict[str, Key]) -> str:
    """Advice for a key that does not exist.

    A key of the same or another name in other algorithms names these; else see `schema.suggest`.
    """
    plain = plain_name(name)
    if (advice := other_names.answer(name, known)) is not None and plain not in known:
        return advice
    if plain in ANSWERS and plain not in known:  # dry_run=true
        return ANSWERS[plain].format(program="rl-train")
    leaf = plain.removeprefix("algo.")
    if owners := _owners(f"algo.{leaf}"):
        # known and refused: a sweep over algorithms of which one does not have it
        is_elsewhere = plain in known or f"algo.{leaf}" not in known
        return f"algo.{leaf} is {owners}" if is_elsewhere else suggest(name, known)
    for ours in other_names.ours_of(leaf):
        if owners := _owners(ours):
            return other_names.say(leaf, ours, owners)
    return suggest(name, known)


def _owners(key: str) -> str:
    """Which algorithms have a key, for messages; empty: none."""
    owners = [f"algo={a}" for a in algos.usable() if key in keys(algos.config_class(a), "algo")]
    return f"a key of {' and '.join(owners)}" if owners else ""


def training_keys(argv: list[str]) -> dict[str, Key]:
    """Every key that rl-train accepts with this command line, by its dotted path."""
    found = keys(RunSettings)
    found |= dict.fromkeys(GROUPS, Key("name", "", "configuration group"))
    groups = (value_of(argv, "algo") or "dqn").split(",")
    names = [algorithm_of(group, user_folders(argv)) for group in groups]
    classes = [algos.config_class(name) for name in names if name in algos.names()]
    for cls in classes or [AlgoConfig]:
        found |= keys(cls, "algo")
    return found
