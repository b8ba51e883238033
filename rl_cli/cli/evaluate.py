"""rl-eval: replay a checkpoint, with statistics and, if wanted, a video or a window."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rl_cli.cli.deferred import defer

defer("torch")

from rl_cli.cli import launch  # noqa: E402
from rl_cli.cli.arguments import check_flags, plain_overrides, split_flags  # noqa: E402
from rl_cli.config import ReplayConfig, keys, suggest  # noqa: E402
from rl_cli.errors import BadInput  # noqa: E402


def main() -> None:
    """Console entry point; the process ends with the exit code."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Carry out a command line. -> exit code."""
    if not argv or any(arg in ("-h", "--help") for arg in argv):
        from rl_cli.cli.help import eval_help

        print(eval_help())
        return 0 if argv else 2
    if "--version" in argv:
        from rl_cli import __version__

        print(f"rl-cli {__version__}")
        return 0
    flags, words = split_flags(argv)
    known = keys(ReplayConfig)
    named = [_named(word) for word in words]
    with launch.reported(named, lambda: known) as code:
        check_flags(flags)
        overrides = plain_overrides(named, known, r"env\.", lambda key: suggest(key, known))
        runs = [word for word in overrides if word.startswith("run=")]
        if len(runs) > 1 or {"-m", "--multirun"} & set(flags):
            raise BadInput("one run is replayed at a time", " ".join(words), "name one run")
        launch.run_hydra("eval", flags + [_free_env_key(word) for word in overrides], _task)
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
    from rl_cli.replay import replay

    return replay(launch.values(cfg))
