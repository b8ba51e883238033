"""rl-eval: evaluate checkpoints, with statistics and optionally videos or a window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.cli import entry, on_run
from rl_cli.config.commands import ReplayConfig
from rl_cli.config.schema import build

if TYPE_CHECKING:
    from rl_cli.evaluation.replay import Evaluation

main = entry.evaluate


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    return on_run.run("rl-eval", argv, ReplayConfig, _help, _task, several=_several)


def _help() -> str:
    from rl_cli.cli.help import eval_help

    return eval_help()


def evaluate_run(run: str, words: list[str]) -> Evaluation:
    """Evaluate a run, as `rl-eval` does with these words. Prints what the command prints.

    Raises:
        RunError: what the command would report.

    """
    return on_run.result("rl-eval", run, words, ReplayConfig, _task)


def _task(values: dict[str, Any]) -> Evaluation:
    cfg = build(ReplayConfig, values)
    from rl_cli.evaluation.replay import replay  # here: imports gymnasium

    return replay(cfg)


def _several(paths: list[str]) -> on_run.OfSeveral | None:
    """The evaluation of several runs; None: the paths name one run, or none."""
    if len(paths) < 2 and not any(_may_be_several(path) for path in paths):
        return None
    from rl_cli.sweep import evaluations  # here: imports numpy

    runs = evaluations.expand(paths)
    if runs == paths[:1] or not runs:
        return None
    return lambda values: evaluations.evaluate(build(ReplayConfig, values), runs)


def _may_be_several(path: str) -> bool:
    """Whether a path is a pattern, or a folder that is neither a run nor a checkpoint."""
    folder = Path(path)
    if not folder.exists():
        return any(c in path for c in "*?[")
    return not any(
        (folder / name).exists() for name in ("config.yaml", "checkpoints", "manifest.json")
    )
