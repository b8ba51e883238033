"""Splitting a command line into flags and overrides, and refusing malformed arguments."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from rl_cli.config.schema import Key
from rl_cli.core.errors import BadInput, did_you_mean

Suggest = Callable[[str], str]
"""Advice for a key that does not exist."""

Known = Callable[[], Mapping[str, Key]]
"""The keys of a command."""

FLAGS = (
    *("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r"),
    *("--multirun", "-m", "--shell-completion", "-sc"),
)

FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--package", "-p", "--info", "-i"),
)

MAX_KEY_LENGTH = 200

MAX_BRACKETS = 100
"""Opening brackets in one argument; valid values have only a few."""


def value_of(argv: list[str], key: str) -> str | None:
    """The value of `key=` on the command line, the last one if there are several; None: not given."""
    given = [arg.split("=", 1)[1] for arg in argv if arg.split("=", 1)[0] == key and "=" in arg]
    return given[-1] if given else None


def text_of(argv: list[str], key: str) -> str | None:
    """`value_of` without the quotes around it."""
    value = value_of(argv, key)
    quoted = value is not None and len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if value is not None and quoted else value


def is_asked(argv: list[str]) -> bool:
    """Whether a command line requests help."""
    return any(arg in ("-h", "--help") or arg.startswith("--help=") for arg in argv)


def asks_to_complete(argv: list[str]) -> bool:
    """Whether a completion script of the shell asks: --complete <shell> <line up to the cursor>."""
    return argv[:1] == ["--complete"] and len(argv) == 3


def split_flags(argv: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides; Hydra needs each kind in one block."""
    flags: list[str] = []
    overrides: list[str] = []
    for i, arg in enumerate(argv):
        value = i > 0 and argv[i - 1] in FLAGS_WITH_VALUE and "=" not in arg
        (flags if arg.startswith("-") or value else overrides).append(arg)
    return flags, overrides


def check_flags(flags: list[str]) -> None:
    """Raise BadInput for an option that does not exist, or that lacks its value.

    Hydra's own parser would print its usage and exit.
    """
    for i, flag in enumerate(flags):
        name, equals, _ = flag.partition("=")
        if not flag.startswith("-"):
            continue
        if name not in (*FLAGS, *FLAGS_WITH_VALUE):
            known = [f for f in (*FLAGS, *FLAGS_WITH_VALUE) if f.startswith("--")]
            raise BadInput(f"no option {name}", flag, did_you_mean(name, known, "see --help"))
        given = equals or (i + 1 < len(flags) and not flags[i + 1].startswith("-"))
        if name in FLAGS_WITH_VALUE and not given and name not in ("--info", "-i"):
            raise BadInput(f"{name} needs a value", flag, f"{name} <value>")
    line = " ".join(flags)
    if found := re.search(r"(?:--cfg|-c)[ =](?!(?:job|hydra|all)(?: |$))(\S*)", line):
        raise BadInput(f"--cfg cannot show {found[1]}", found[0], "--cfg job")
    if "--resolve" in flags and not re.search(r"(?:^| )(?:--cfg|-c)\b", line):
        raise BadInput("--resolve needs --cfg", "--resolve", "--cfg job --resolve")


def plain_overrides(overrides: list[str], known: Known, free: str, suggest: Suggest) -> list[str]:
    """Overrides without Hydra's prefixes: `+key=`, `++key=` and `key=` set the same key.

    Args:
        overrides: as typed.
        known: returns the keys that exist; called only for a prefix.
        free: pattern of keys that may be new.
        suggest: advice for a key that does not exist.

    Raises:
        BadInput: `+` before a key that does not exist, `~` before any key, or an argument that is
            no override.

    """
    return [_plain_override(arg, known, free, suggest) for arg in overrides]


def _plain_override(arg: str, known: Known, free: str, suggest: Suggest) -> str:
    key = re.split("[=@]", arg.lstrip("+~"), maxsplit=1)[0]
    if not key or len(key) > MAX_KEY_LENGTH:
        raise BadInput("cannot read this argument", arg, "write key=value")
    # texts for an env may hold them: a line to paste quotes what a file of the user says
    refused = ("Cs",) if key.startswith("env.kwargs.") else ("Cc", "Cs")
    if any(unicodedata.category(c) in refused for c in arg):
        fix = "remove control characters, and write it in UTF-8"
        raise BadInput("cannot read this argument", arg, fix)
    if sum(map(arg.count, "[{(")) > MAX_BRACKETS:
        raise BadInput("this argument is nested too deeply", arg, "write key=value")
    if re.match(free, key) or key.startswith("hydra"):
        return arg
    if re.fullmatch(r"[\w.]*\w-[\w.-]*", key) and arg[0] != "~":  # Hydra could not parse it
        raise BadInput(f"unknown key {key}", arg, suggest(key))
    if arg[0] not in "+~":
        return arg
    exists = key in known() or any(k.startswith(f"{key}.") for k in known())
    if not exists:
        raise BadInput(f"unknown key {key}", arg, suggest(key))
    if arg.startswith("~"):
        fix = (
            "hparams=none"
            if key == "hparams"
            else "remove this argument, or set a value: key=value"
        )
        raise BadInput(f"{key} cannot be deleted", arg, fix)
    return arg.lstrip("+")
