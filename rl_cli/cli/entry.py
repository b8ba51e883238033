"""Console entry points. They import next to nothing, so that a signal during the imports is handled too."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import NoReturn

from rl_cli.core import stop_signals, terminal


def train() -> NoReturn:
    """rl-train; the process exits with the run's exit code."""
    _main("train")


def evaluate() -> NoReturn:
    """rl-eval; the process exits with the exit code."""
    _main("evaluate")


def play() -> NoReturn:
    """rl-play; the process exits with the exit code."""
    _main("play")


def report() -> NoReturn:
    """rl-report; the process exits with the exit code."""
    _main("report")


def runs() -> NoReturn:
    """rl-runs; the process exits with the exit code."""
    _main("runs")


def _main(command: str) -> NoReturn:
    terminal.protect()
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
