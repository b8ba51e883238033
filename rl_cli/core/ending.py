"""The end of a process: it does not wait for a thread or exit function of an env that does not end."""

from __future__ import annotations

import os
import threading
from time import sleep  # an env may replace time.sleep

from rl_cli.core import terminal

SECONDS = 20.0
"""How long threads and exit functions may take when a command is done."""


def end_in_time(code: int) -> None:
    """End this process with an exit code after `SECONDS`, unless it has ended by itself.

    A daemon thread waits for that: it runs while the interpreter waits for other threads and calls the
    functions of `atexit`.
    """
    threading.Thread(target=_end, args=(code,), daemon=True).start()


def _end(code: int) -> None:
    sleep(SECONDS)
    main = threading.main_thread()
    running = [t.name for t in threading.enumerate() if not t.daemon and t is not main]
    what = f"threads that still run: {', '.join(running)}" if running else "an exit function"
    terminal.urgent(f"note: the process is ended; {SECONDS:g} s were not enough for {what}")
    os._exit(code)
