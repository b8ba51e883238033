"""rl-eval: replay a checkpoint, with statistics and, if wanted, a video or a window."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from rl_cli.cli.deferred import defer

defer("torch")

from rl_cli.cli import launch  # noqa: E402


def main() -> None:
    """Console entry point; the process ends with the exit code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Carry out a command line. -> exit code."""
    if not argv or any(arg in ("-h", "--help") for arg in argv):
        from rl_cli.cli.help import eval_help

        print(eval_help())
        return 0 if argv else 2
    argv = [_named(arg) for arg in argv]
    with launch.reported(argv) as code:
        launch.run_hydra("eval", [_free_env_key(arg) for arg in argv], _task)
    return code[0]


def _named(arg: str) -> str:
    """A bare path is the run to replay; quoted, because Hydra gives signs in it a meaning."""
    if arg.startswith("-") or "=" in arg.split("/")[0]:
        return arg
    escaped = str(Path(arg)).replace("\\", "\\\\").replace("'", "\\'")
    return f"run='{escaped}'"


def _free_env_key(arg: str) -> str:
    return f"++{arg}" if arg.startswith("env.") else arg


def _task(cfg: Any) -> float:
    from omegaconf import OmegaConf

    from rl_cli.replay import replay

    return replay(cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)))
