"""rl-search: search for hyper-parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import yaml

from rl_cli.cli import (
    compose,
    config_groups,
    entry,
    group_names,
    hydra_errors,
    option_forms,
    shell_requests,
)
from rl_cli.cli.arguments import is_asked, split_flags
from rl_cli.cli.config_groups import CONF
from rl_cli.cli.numbers import expanded
from rl_cli.cli.search_plan import Composer
from rl_cli.config.schema import Key, build, keys
from rl_cli.config.search import SearchConfig
from rl_cli.core.errors import BadInput

# Matrix products of numpy are small here; BLAS threads make them slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

main = entry.search

REFUSED = ("run_dir", "resume", "sweep", "quiet")


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    if (answered := shell_requests.answer(argv)) is not None:
        return answered
    if not argv or is_asked(argv):
        from rl_cli.cli.help import search_help
        from rl_cli.cli.layout import show

        show(search_help())
        return 0 if argv else 2
    with hydra_errors.reported(argv, lambda: _known(argv)) as code:
        option_forms.check_forms("rl-search", argv, lambda: _known(argv))
        own, words = _split(argv)
        cfg = _search_config(own)
        from rl_cli.search import study

        study.require_optuna()
        folders = [CONF, *config_groups.user_folders(words)]
        words = group_names.resolve(compose.plain(words), folders)
        from rl_cli.search.run_processes import RunProcesses
        from rl_cli.search.search import Search  # imports numpy

        composer = Composer(words, folders)
        plan = composer.plan(cfg)
        runs = RunProcesses(lambda: composer.executor(plan))
        code[0] = Search(plan, composer.run.shown, composer.write_preset, runs).run()
    return code[0]


def _known(argv: list[str]) -> dict[str, Key]:
    """Every key of the command."""
    return hydra_errors.training_keys(argv) | keys(SearchConfig)


def _split(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """The keys of the search as typed, and the words of the runs.

    Raises:
        BadInput: a word that a search does not take.

    """
    own, known = dict[str, str](), keys(SearchConfig)
    flags, words = split_flags(argv)
    for flag in flags:
        if flag.startswith("-") and flag.split("=")[0] not in ("--config-dir", "-cd"):
            fix = "rl-search takes key=value; of options, --config-dir and --help"
            raise BadInput(f"no option {flag}", flag, fix)
    others = []
    for word in expanded(words, lambda: known):
        name, equals, value = word.partition("=")
        if name in known and equals:
            own[name] = value
            continue
        plain = name.lstrip("+~")
        if plain in REFUSED or re.match(r"hydra(?![/.]launcher\b)", plain):
            fix = "leave it out: a search names its runs; to continue it, repeat the command"
            raise BadInput(f"{name} is not a key of a search", word, fix)
        others.append(word)
    return own, [*flags, *others]


def _search_config(own: Mapping[str, str]) -> SearchConfig:
    """The keys of the search. Raises BadInput: names the key."""
    values = yaml.safe_load((CONF / "search.yaml").read_text(encoding="utf-8"))
    known = keys(SearchConfig)
    for name, text in own.items():
        if re.search(r"\b(int|float|bool)\b", known[name].type):
            values[name] = hydra_errors.parsed(f"{name}={text}", known)[1]
        else:
            values[name] = None if text == "null" else hydra_errors.unquoted(text)
    return build(SearchConfig, values)
