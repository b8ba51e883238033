"""rl-eval: evaluate a checkpoint, with statistics and optionally a video or a window."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

from rl_cli.cli import completion, compose, entry, hydra_errors
from rl_cli.cli.arguments import check_flags, is_asked, plain_overrides, split_flags
from rl_cli.cli.numbers import expanded
from rl_cli.cli.option_forms import check_forms
from rl_cli.config.commands import ReplayConfig
from rl_cli.config.schema import build, keys, suggest
from rl_cli.core import terminal
from rl_cli.core.errors import BadInput
from rl_cli.storage import run_names

main = entry.evaluate


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    if argv[:1] == [completion.ASK] and len(argv) == 3:
        return completion.answer(*argv[1:])
    if not argv or is_asked(argv):
        from rl_cli.cli.help import eval_help
        from rl_cli.cli.layout import show

        show(eval_help())
        return 0 if argv else 2
    if "--version" in argv:
        from rl_cli import __version__

        terminal.say(f"rl-cli {__version__}")
        return 0
    known = keys(ReplayConfig)
    flags, words = split_flags(argv)
    paths = [word.removeprefix("run=") for word in words if _is_path(word)]
    others = [word for word in words if not _is_path(word)]
    with hydra_errors.reported(others, lambda: known) as code:
        check_forms("rl-eval", argv, lambda: known, paths=True)
        check_flags(flags)
        overrides = plain_overrides(
            others, lambda: known, r"env\.", lambda key: suggest(key, known)
        )
        runs = paths + [word for word in overrides if word.startswith("run=")]
        if len(runs) > 1 or {"-m", "--multirun"} & set(flags):
            raise BadInput("rl-eval evaluates one run at a time", " ".join(words), "name one run")
        task = functools.partial(_task, path=paths[0] if paths else None)
        free = [_free_env_key(word) for word in expanded(overrides, lambda: known)]
        compose.run_hydra("eval", flags + free, task)
    return code[0]


def _is_path(arg: str) -> bool:
    """Whether an argument is the run's path. It is not passed to Hydra, which would parse it.

    Hydra would read run=20261126 as a number.
    """
    return "=" not in arg.split("/")[0] or re.fullmatch(r"run=[0-9][\w\-]*", arg) is not None


def _free_env_key(arg: str) -> str:
    return f"++{arg}" if arg.startswith("env.") else arg


def _task(cfg: Any, path: str | None) -> float:
    config = compose.values(cfg)
    replay_cfg = build(ReplayConfig, config if path is None else config | {"run": path})
    if replay_cfg.run is not None:
        run = run_names.note_run(replay_cfg.run, f"run={replay_cfg.run}")
        replay_cfg = dataclasses.replace(replay_cfg, run=run)
    from rl_cli.evaluation.replay import replay  # here: imports gymnasium

    return replay(replay_cfg)
