"""Arguments in the forms of other programs, `--algo dqn` or `algo dqn`, are answered with ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import NamedTuple

from rl_cli.cli.arguments import FLAGS, FLAGS_WITH_VALUE
from rl_cli.cli.group_names import bare
from rl_cli.config import other_names
from rl_cli.config.other_names import plain_name
from rl_cli.config.schema import SEE_HELP, Key
from rl_cli.core.errors import BadInput, did_you_mean

_LIST = (
    "{program} --help lists algorithms, envs and presets; {program} --help env describes the envs"
)
_DRY_RUN = (
    "{program} --cfg job shows the configuration and runs nothing; "
    "rl-train --doctor also makes one update"
)
_HELP = "{program} --help"

ANSWERS = {
    **dict.fromkeys(
        ["list", "ls", "list_envs", "list_algos", "list_environments", "envs", "algos"], _LIST
    ),
    **dict.fromkeys(
        ["dry_run", "dryrun", "print_config", "show_config", "check", "test"], _DRY_RUN
    ),
    **dict.fromkeys(["help", "?", "usage", "man"], _HELP),
    **dict.fromkeys(["v", "V", "ver"], "{program} --version"),
    **dict.fromkeys(
        ["config", "config_file", "conf", "cfg_file"],
        "experiment=<name> for a file conf/experiment/<name>.yaml; --config-dir <folder>",
    ),
    **dict.fromkeys(["debug", "trace"], "RL_CLI_DEBUG=1 prints the traceback of an error"),
    **dict.fromkeys(["sweep", "hyperopt", "optimize"], "rl-train -m algo.gamma=0.9,0.99"),
    "continue": "rl-train resume=<run folder>, or resume=latest",
}
"""Options of other programs that are no key -> what to write."""

NO_BUDGET = "total_episodes={value} for the budget, eval.episodes={value} for each evaluation"


class _Form(NamedTuple):
    """One argument in a form of another program."""

    typed: str
    name: str  # without hyphens in front
    value: str | None


def check_forms(
    program: str,
    argv: list[str],
    known: Callable[[], Mapping[str, Key]],
    names: Callable[[], Mapping[str, str]] = dict,
    paths: bool = False,
) -> None:
    """Refuse arguments in the forms of other programs.

    Args:
        program: name of the command, for the answer.
        argv: the command line.
        known: keys of the command, with its groups.
        names: members of groups -> their group: cartpole -> env.
        paths: whether a bare word may be a path.

    Raises:
        BadInput: says what to write in place of the whole line, or of the first such argument.

    """
    read = _read(argv, known, names, paths)
    forms = [item for item in read if isinstance(item, _Form)]
    if not forms:
        return
    keys, line = known(), [program]
    for item in read:
        written = _written(item, keys, names()) if isinstance(item, _Form) else item
        if written is None:
            assert isinstance(item, _Form)
            raise BadInput(*_answered(program, item, keys))
        line.append(
            shlex.quote(written) if re.search(r"[^\w=.,:/@%+<>\-\[\]]", written) else written
        )
    raise BadInput("arguments are written key=value", forms[0].typed, " ".join(line))


def _read(
    argv: list[str],
    known: Callable[[], Mapping[str, Key]],
    names: Callable[[], Mapping[str, str]],
    paths: bool,
) -> list[str | _Form]:
    """The arguments, those in another program's form as `_Form`."""
    out: list[str | _Form] = []
    rest = list(argv)
    while rest:
        form, used = _form(rest, known, names, paths)
        if form is None and used == 1 and rest[0] in FLAGS_WITH_VALUE and len(rest) > 1:
            used = 1 if "=" in rest[1] or rest[1].startswith("-") else 2
        out += rest[:used] if form is None else [form]
        rest = rest[used:]
    return out


def _form(
    words: list[str],
    known: Callable[[], Mapping[str, Key]],
    names: Callable[[], Mapping[str, str]],
    paths: bool,
) -> tuple[_Form | None, int]:
    """The form at the start of `words`, and how many of them it takes."""
    word, after = words[0], words[1] if len(words) > 1 else ""
    name, equals, value = word.partition("=")
    if name.startswith("-"):
        return _option(word, after)
    bare = "=" not in after and not after.startswith("-") and after != ""
    if equals:
        if name and not value and bare and name in known():  # algo= dqn
            return _Form(f"{word} {after}", name, after), 2
        if value.endswith(",") and bare and name in known():  # algo=dqn, ppo
            return _Form(f"{word} {after}", name, f"{value}{after}"), 2
        return None, 1
    if after == "=" and len(words) > 2:  # algo = dqn
        return _Form(" ".join(words[:3]), word, words[2]), 3
    if after.startswith("=") and len(after) > 1:  # algo =dqn
        return _Form(f"{word} {after}", word, after[1:]), 2
    head, colon, tail = word.partition(":")
    if colon and head in known():  # algo:dqn
        return _Form(word, head, tail), 1
    if plain_name(word) in known() and bare:  # algo dqn
        return _Form(f"{word} {after}", word, after), 2
    if not paths and word in ("help", "list"):
        return _Form(word, word, None), 1
    if not paths and (group := _group_of(word, names())) is not None:  # dqn, CartPole-v1
        return _Form(word, group, word), 1
    return None, 1


def _group_of(word: str, names: Mapping[str, str]) -> str | None:
    """The group that has a member of this name, in any letters and of any version."""
    return next((group for name, group in names.items() if bare(name) == bare(word)), None)


def _option(word: str, after: str) -> tuple[_Form | None, int]:
    """`--algo dqn`, `--algo=dqn`, `--quiet`; None: one of our options."""
    name, equals, value = word.partition("=")
    if name in (*FLAGS, *FLAGS_WITH_VALUE) or not name.strip("-"):
        return None, 1
    if equals:
        return _Form(word, name.lstrip("-"), value or None), 1
    if after and "=" not in after and not re.match(r"-\D", after):
        return _Form(f"{word} {after}", name.lstrip("-"), after), 2
    return _Form(word, name.lstrip("-"), None), 1


def _written(form: _Form, keys: Mapping[str, Key], names: Mapping[str, str]) -> str | None:
    """The argument in our form; None: it needs an answer of its own."""
    name, value = plain_name(form.name), form.value
    if name not in keys and f"algo.{name}" in keys:
        name = f"algo.{name}"
    if name not in keys:
        ours = next((key for key in other_names.ours_of(name) if key in keys), None)
        if ours is None or value is None:
            return None
        note = other_names.note_of(name)
        if ours == "env.id" and _group_of(value, names) is not None:
            return f"env={value}"
        if note and not (note.startswith("env steps") and value.replace("_", "").isdigit()):
            return None if ours != "env.id" else f"env.id={value}"
        name = ours
    if value is not None:
        return f"{name}={value}"
    return f"{name}=true" if keys[name].type == "bool" else f"{name}=<value>"


def _answered(program: str, form: _Form, keys: Mapping[str, Key]) -> tuple[str, str, str]:
    """What, where, what to do."""
    name = plain_name(form.name)
    what = f"no option {form.typed.split('=')[0].split()[0]}"
    if name in ("episodes", "n_episodes", "num_episodes") and "total_episodes" in keys:
        return what, form.typed, NO_BUDGET.format(value=form.value or "<number>")
    if form.name in ANSWERS or name in ANSWERS:
        return (
            what,
            form.typed,
            ANSWERS.get(form.name, ANSWERS.get(name, "")).format(program=program),
        )
    if (other := other_names.answer(name, keys)) is not None:
        return what, form.typed, other
    every = (*FLAGS, *FLAGS_WITH_VALUE, "--doctor", "--completion")
    options = {f.strip("-"): f for f in every if f.startswith("--")}
    if len(name) > 3 and (near := did_you_mean(form.name, options)):
        return what, form.typed, near.replace("mean ", "mean --")
    fix = (
        did_you_mean(name, keys, SEE_HELP).replace("?", "=<value>?") if len(name) > 1 else SEE_HELP
    )
    return what, form.typed, fix
