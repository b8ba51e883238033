"""Console entry points. This module imports next to nothing, so that a signal during imports is handled too."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable


def train() -> None:
    """rl-train; the process exits with the run's exit code."""

    def command(argv: list[str]) -> int:
        from rl_cli.cli.train import run

        return run(argv)

    _main(command)


def evaluate() -> None:
    """rl-eval; the process exits with the exit code."""

    def command(argv: list[str]) -> int:
        from rl_cli.cli.evaluate import run

        return run(argv)

    _main(command)


def play() -> None:
    """rl-play; the process exits with the exit code."""

    def command(argv: list[str]) -> int:
        from rl_cli.cli.play import run

        return run(argv)

    _main(command)


def export() -> None:
    """rl-export; the process exits with the exit code."""

    def command(argv: list[str]) -> int:
        from rl_cli.cli.export import run

        return run(argv)

    _main(command)


def report() -> None:
    """rl-report; the process exits with the exit code."""

    def command(argv: list[str]) -> int:
        from rl_cli.cli.report import run

        return run(argv)

    _main(command)


def runs() -> None:
    """rl-runs; the process exits with the exit code."""

    def command(argv: list[str]) -> int:
        from rl_cli.cli.runs import run

        return run(argv)

    _main(command)


def search() -> None:
    """rl-search; the process exits with the exit code."""

    def command(argv: list[str]) -> int:
        from rl_cli.cli.search import run

        return run(argv)

    _main(command)


def _main(command: Callable[[list[str]], int]) -> None:
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:  # the next imports may be interrupted, in silence
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rl_cli.core import ending, stop_signals, terminal

    streams = terminal.protect()
    signal.signal(signal.SIGINT, before)
    try:
        with stop_signals.raising():
            code = command(sys.argv[1:])
    except BaseException as error:
        # an import that a signal interrupts may end with another exception
        if not isinstance(error, KeyboardInterrupt) and stop_signals.received() is None:
            raise
        code = 128 + stop_signals.signal_of(error)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the interpreter ends
    sys.stdout, sys.stderr = streams  # an env may have put its own in their place
    ending.end_in_time(code)
    sys.exit(code)
