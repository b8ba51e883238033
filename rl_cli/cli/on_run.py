"""The command line of a program that reads runs: rl-eval and rl-export."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

from rl_cli.cli import compose, hydra_errors, shell_requests
from rl_cli.cli.arguments import (
    check_flags,
    is_asked,
    plain_overrides,
    split_flags,
)
from rl_cli.cli.numbers import expanded
from rl_cli.cli.option_forms import check_forms
from rl_cli.config.schema import Key, keys, suggest
from rl_cli.core.errors import BadInput
from rl_cli.storage import run_names

T = TypeVar("T")

OfSeveral = Callable[[dict[str, Any]], int]
"""Called with the composed values; returns the exit code."""


def run(
    program: str,
    argv: list[str],
    schema: type[Any],
    help_text: Callable[[], str],
    task: Callable[[dict[str, Any]], object],
    free: Callable[[], str] = lambda: r"env\.",
    several: Callable[[list[str]], OfSeveral | None] = lambda paths: None,
) -> int:
    """Run a command line. Returns the exit code.

    Args:
        program: rl-eval or rl-export; its default values are conf/<eval or export>.yaml.
        argv: the command line.
        schema: of the keys.
        help_text: the text of --help.
        task: called with the composed values; `run` is a path.
        free: regular expression of keys that are added to the values, without a schema.
        several: called with the paths; what is called in place of `task`, if they name several runs.

    """
    if (answered := shell_requests.answer(argv)) is not None:
        return answered
    if not argv or is_asked(argv):
        from rl_cli.cli.layout import show

        show(help_text())
        return 0 if argv else 2
    return _execute(program, argv, keys(schema), free, task, several)


def _execute(
    program: str,
    argv: list[str],
    known: dict[str, Key],
    free: Callable[[], str],
    task: Callable[[dict[str, Any]], object],
    several: Callable[[list[str]], OfSeveral | None],
) -> int:
    flags, words = split_flags(argv)
    paths = [word.removeprefix("run=") for word in words if _is_path(word)]
    others = [word for word in words if not _is_path(word)]
    with hydra_errors.reported(others, lambda: known) as code:
        check_forms(program, argv, lambda: known, paths=True)
        check_flags(flags)
        if any(not path.strip() for path in paths):
            raise BadInput(
                "no run is named", "''", "name a folder; a variable of the shell may be empty"
            )
        runs = paths + [word for word in others if word.lstrip("+").startswith("run=")]
        of_several = several(paths) if runs == paths else None
        if (len(runs) > 1 and of_several is None) or {"-m", "--multirun"} & set(flags):
            verb = {"rl-eval": "evaluates", "rl-export": "exports"}[program]
            raise BadInput(f"{program} {verb} one run at a time", " ".join(words), "name one run")
        named: Callable[[Any], object] = functools.partial(
            _task, path=paths[0] if paths else None, task=task
        )
        if of_several is not None:
            named = functools.partial(_task_of_several, task=of_several, code=code)
        _compose(program, flags, others, known, free(), named)
    return code[0]


def result(
    program: str,
    run: str,
    words: list[str],
    schema: type[Any],
    task: Callable[[dict[str, Any]], T],
) -> T:
    """Run `task` with the words of a command line, and return its result; see `run`.

    Raises:
        RunError: what the command would report.

    """
    known, found = keys(schema), list[T]()

    def named(cfg: Any) -> None:
        found.append(task(compose.values(cfg) | {"run": run}))

    with hydra_errors.explained(words, lambda: known):
        _compose(program, [], words, known, r"env\.", named)
    return found[0]


def _compose(
    program: str,
    flags: list[str],
    words: list[str],
    known: dict[str, Key],
    may_add: str,
    task: Callable[[Any], object],
) -> None:
    overrides = plain_overrides(words, lambda: known, may_add, lambda key: suggest(key, known))
    added = [
        f"++{word}" if re.match(may_add, word) else word
        for word in expanded(overrides, lambda: known)
    ]
    compose.run_hydra(program.removeprefix("rl-"), flags + added, task)


def _is_path(arg: str) -> bool:
    """Whether an argument is the run's path. It is not passed to Hydra, which would parse it.

    Hydra would read run=20261126 as a number.
    """
    return "=" not in arg.split("/")[0] or re.fullmatch(r"run=[0-9][\w\-]*", arg) is not None


def _task(cfg: Any, path: str | None, task: Callable[[dict[str, Any]], object]) -> object:
    values = compose.values(cfg)
    if path is not None:
        values["run"] = path
    if isinstance(values.get("run"), str):
        values["run"] = run_names.note_run(values["run"], f"run={values['run']}")
    return task(values)


def _task_of_several(cfg: Any, task: OfSeveral, code: list[int]) -> None:
    code[0] = task(compose.values(cfg))
