"""Where a run is shown, and the monitor for it: a live view, lines of text, or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from rl_cli.config.run import Display
from rl_cli.core import terminal
from rl_cli.tracking.console import Monitor, PlainMonitor, QuietMonitor

NOTEBOOKS = (
    *("JPY_PARENT_PID", "JPY_SESSION_NAME"),  # Jupyter: set for kernels, not for its terminals
    *("COLAB_GPU", "COLAB_RELEASE_TAG", "COLAB_BACKEND_VERSION"),
    *("KAGGLE_KERNEL_RUN_TYPE", "DATABRICKS_RUNTIME_VERSION"),
)
"""Environment variables of notebooks, whose cells may be terminals that do not redraw lines."""

DUMB = ("dumb", "unknown")
"""Values of TERM of terminals that cannot move the cursor."""


WIDEST = 10_000
"""Characters of a line on which every table has its natural width."""


def make_monitor(display: Display) -> Monitor:
    """The monitor of `display`; auto: a live view where lines can be redrawn, else lines of text."""
    if display == "none":
        return QuietMonitor()
    if not is_live(display):
        return PlainMonitor()
    from rl_cli.tracking.live import LiveMonitor

    return LiveMonitor(screen())


def is_live(display: Display) -> bool:
    """Whether `display` selects a view that is redrawn, given where stdout leads."""
    return display == "live" or (display == "auto" and redraws(os.environ))


def screen() -> Console:
    """The terminal, for views that are redrawn."""
    return Console(force_terminal=True)


def print_table(table: Table) -> bool:
    """Print a table on standard output, unless the terminal is too narrow. -> whether it was printed."""
    try:
        return _print_table(table, Console())
    except Exception:  # an env has put a stream of its own in place of stdout
        return False


def _print_table(table: Table, console: Console) -> bool:
    width = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    if console.is_terminal and width > console.width:
        return False
    console.width = max(width, console.width)
    console.print(table)
    return True


def redraws(environ: Mapping[str, str]) -> bool:
    """Whether stdout is a terminal on which lines can be redrawn.

    False for pipes and files, notebooks, terminals without cursor movement, CI, and with NO_COLOR.
    """
    if not terminal.is_screen():
        return False
    if any(environ.get(name) for name in ("NO_COLOR", *NOTEBOOKS)):
        return False
    return environ.get("CI", "").lower() in ("", "0", "false") and environ.get("TERM") not in DUMB
