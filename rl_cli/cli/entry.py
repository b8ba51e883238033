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


def export() -> None:
    """rl-export; the process exits with the exit code."""
    _main("export")


def report() -> None:
    """rl-report; the process exits with the exit code."""
    _main("report")


def runs() -> None:
    """rl-runs; the process exits with the exit code."""
    _main("runs")


def search() -> None:
    """rl-search; the process exits with the exit code."""
    _main("search")


def _main(module: str) -> None:
    """Run the command of a module of this package."""
    before = signal.getsignal(signal.SIGINT)
    if before != signal.SIG_IGN:  # the next imports may be interrupted, in silence
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rl_cli.core import ending, stop_signals, terminal
    from rl_cli.core.imports import without_collection

    streams = terminal.protect()
    signal.signal(signal.SIGINT, before)
    try:
        with stop_signals.raising():
            with without_collection():
                command = importlib.import_module(f"rl_cli.cli.{module}").run
            code = command(sys.argv[1:])
    except BaseException as error:
        # an import that a signal interrupts may end with another exception
        if not isinstance(error, KeyboardInterrupt) and stop_signals.received() is None:
            raise
        code = 128 + stop_signals.signal_of(error)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the interpreter ends
    sys.stdout, sys.stderr = streams  # an env may have put its own in their place
    ending.end_in_time(code)
    raise SystemExit(code)  # not sys.exit, which an env may have replaced
