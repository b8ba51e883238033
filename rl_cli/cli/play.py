"""rl-play: play an env by hand, and keep what was played for an algorithm to begin with."""

from __future__ import annotations

import re
import sys
from typing import Any

from rl_cli.cli import compose, config_groups, hydra_errors
from rl_cli.cli.arguments import check_flags, plain_overrides, split_flags, value_of
from rl_cli.cli.deferred import defer
from rl_cli.config.commands import PlayConfig
from rl_cli.config.schema import Key, keys, suggest
from rl_cli.core.errors import BadInput

defer("torch")


def main() -> None:
    """Console entry point; the process ends with the exit code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Carry out a command line. -> exit code."""
    if any(arg in ("-h", "--help") for arg in argv):
        from rl_cli.cli.help import play_help, show

        show(play_help(argv))
        return 0
    if "--version" in argv:
        from rl_cli import __version__

        print(f"rl-cli {__version__}")
        return 0
    flags, words = split_flags(argv)
    known = keys(PlayConfig) | {"env": Key("name", "", "configuration group")}
    with hydra_errors.reported(words, lambda: known) as code:
        check_flags(flags)
        if {"-m", "--multirun"} & set(flags):
            raise BadInput("one env is played at a time", " ".join(argv), "leave -m out")
        free = r"env\.kwargs\."
        overrides = plain_overrides(words, known, free, lambda key: suggest(key, known))
        compose.run_hydra("play", prepared(flags + overrides), _task)
    return code[0]


def prepared(argv: list[str]) -> list[str]:
    """The command line as Hydra should see it: as `launch.prepare`, but that only envs are chosen."""
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

    from rl_cli.evaluation.play import play

    config = compose.values(cfg)
    choice = str(HydraConfig.get().runtime.choices["env"])
    play(config, config_groups.env_label(choice, config))
