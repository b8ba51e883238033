"""rl-play: play an env with the keyboard, and record transitions for `algo.prefill`."""

from __future__ import annotations

import re
from typing import Any

from rl_cli.cli import compose, config_groups, entry, hydra_errors, shell_requests, user_files
from rl_cli.cli.arguments import (
    check_flags,
    is_asked,
    plain_overrides,
    split_flags,
    value_of,
)
from rl_cli.cli.group_names import resolve
from rl_cli.cli.numbers import expanded
from rl_cli.cli.option_forms import check_forms
from rl_cli.config.commands import PlayConfig
from rl_cli.config.schema import Key, build, keys, suggest
from rl_cli.core.errors import BadInput

main = entry.play


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    if (answered := shell_requests.answer(argv)) is not None:
        return answered
    if is_asked(argv):
        from rl_cli.cli.help import play_help
        from rl_cli.cli.layout import show

        show(play_help(argv))
        return 0
    flags, words = split_flags(argv)
    known = keys(PlayConfig) | {"env": Key("name", "", "configuration group")}
    with hydra_errors.reported(words, lambda: known) as code:
        folders = [config_groups.CONF, *config_groups.user_folders(argv)]
        envs = dict.fromkeys(config_groups.members("env", folders), "env")
        check_forms("rl-play", argv, lambda: known, lambda: envs)
        check_flags(flags)
        user_files.check(argv, ("env",))
        if {"-m", "--multirun"} & set(flags):
            raise BadInput("rl-play plays one env at a time", " ".join(argv), "leave -m out")
        free = r"env\.kwargs\."
        overrides = plain_overrides(words, lambda: known, free, lambda key: suggest(key, known))
        overrides = resolve(expanded(overrides, lambda: known), folders, trains=False)
        compose.run_hydra("play", prepared(flags + overrides), _task)
    return code[0]


def prepared(argv: list[str]) -> list[str]:
    """The command line for Hydra: as `compose.prepare`, with the group `env` alone."""
    flags, overrides = split_flags(argv)
    folders = [config_groups.CONF, *config_groups.user_folders(argv)]
    if (name := value_of(argv, "env")) is not None:
        config_groups.check_member("env", name, folders)
    else:
        implied = config_groups.choices_implied(argv, folders)
        overrides = [*(word for word in implied if word.startswith("env=")), *overrides]
    out = [re.sub(r"^(env\.kwargs(\.|=))", r"++\1", arg) for arg in overrides]
    return flags + out + compose.search_path(argv, folders)


def _task(cfg: Any) -> None:
    from hydra.core.hydra_config import HydraConfig

    config = compose.values(cfg)
    choice = str(HydraConfig.get().runtime.choices["env"])
    label = config_groups.env_label(choice, config)
    play_cfg = build(PlayConfig, config)
    from rl_cli.evaluation.play import play  # here: imports gymnasium

    play(play_cfg, label)
