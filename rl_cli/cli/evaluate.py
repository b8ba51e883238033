"""rl-eval: evaluate a checkpoint, with statistics and optionally a video or a window."""

from __future__ import annotations

from typing import Any

from rl_cli.cli import entry, on_run
from rl_cli.config.commands import ReplayConfig
from rl_cli.config.schema import build

main = entry.evaluate


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    return on_run.run("rl-eval", argv, ReplayConfig, _help, _task)


def _help() -> str:
    from rl_cli.cli.help import eval_help

    return eval_help()


def _task(values: dict[str, Any]) -> float:
    cfg = build(ReplayConfig, values)
    from rl_cli.evaluation.replay import replay  # here: imports gymnasium

    return replay(cfg)
