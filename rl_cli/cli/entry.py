"""Console entry points. This module imports next to nothing, so that a signal during imports is handled too."""

from __future__ import annotations

import importlib
import signal
import sys


def train() -> None:
    """rl-train; the process exits with the run's exit code."""
    _main("train")


def evaluate() -> None:
    """rl-eval; the process exits with the exit code."""
    _main("evaluate")


def play() -> None:
    """rl-play; the process exits with the exit code."""
    _main("play")


def report() -> None:
    """rl-report; the process exits with the exit code."""
    _main("report")


def runs() -> None:
    """rl-runs; the process exits with the exit code."""
    _main("runs")


def _main(command: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:  # the next imports may be interrupted, in silence
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rl_cli.core import stop_signals, terminal

    terminal.protect()
    signal.signal(signal.SIGINT, before)
    try:
        with stop_signals.raising():
            code = importlib.import_module(f"rl_cli.cli.{command}").run(sys.argv[1:])
    except BaseException as error:
        # an import that a signal interrupts may end with another exception
        if not isinstance(error, KeyboardInterrupt) and stop_signals.received() is None:
            raise
        code = 128 + stop_signals.signal_of(error)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the interpreter ends
    sys.exit(code)
