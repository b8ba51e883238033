"""What every command answers the same: a completion script of the shell, and `--version`."""

from __future__ import annotations

from rl_cli.cli.arguments import asks_to_complete, is_asked
from rl_cli.core import terminal


def answer(argv: list[str]) -> int | None:
    """Answer such a command line. -> exit code; None: it requests something else."""
    if asks_to_complete(argv):
        from rl_cli.cli import completion

        return completion.answer(*argv[1:])
    if "--version" in argv and not is_asked(argv):
        from rl_cli import __version__

        terminal.say(f"rl-cli {__version__}")
        return 0
    return None
