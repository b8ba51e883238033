"""rl-export: write the policy of a run in a format that other programs read."""

from __future__ import annotations

import re
from typing import Any

from rl_cli.cli import entry, on_run
from rl_cli.config.commands import ExportConfig
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput

main = entry.export


def run(argv: list[str]) -> int:
    """Run a command line. Returns the exit code."""
    # quoted: Hydra reads a,b as a sweep
    words = [re.sub(r"^format=([\w,]+,[\w,]*)$", r"format='\1'", word) for word in argv]
    return on_run.run("rl-export", words, ExportConfig, _help, _task, _free)


def _help() -> str:
    from rl_cli.cli.help import export_help

    return export_help()


def _free() -> str:
    """Keys of the env, and settings of the formats."""
    from rl_cli import export

    return rf"(env|{'|'.join(map(re.escape, export.names()))})\."


def _task(values: dict[str, Any]) -> None:
    from rl_cli import export

    settings = {name: values.pop(name) for name in export.names() if name in values}
    cfg = build(ExportConfig, values)
    for name, given in settings.items():
        if not isinstance(given, dict):
            raise BadInput(f"{name} is a group", f"{name}={given}", f"{name}.<setting>=<value>")
    from rl_cli.export.run import run as write  # here: imports gymnasium

    write(cfg, settings)
