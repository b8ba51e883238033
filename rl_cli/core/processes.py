"""Forked processes that belong to this one: they hear no signal but through it, and do not outlive it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PATIENCE = 2.0  # seconds for a process to end by itself


def fork(act: Callable[[Connection], None]) -> tuple[Any, Connection]:
    """Run `act` in a copy of this process, with one end of a pipe. -> the process, the other end.

    Raises:
        OSError: the system has no room for one more.

    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        ours.close()  # or the parent's end would never be seen
        _obey_nobody_but_the_parent()
        act(theirs)

    process = context.Process(target=run, daemon=True)
    try:
        process.start()
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _obey_nobody_but_the_parent() -> None:
    """The parent hears the signals, saves, and closes; where it is killed, so are we.

    What an env or an encoder starts hears none of a terminal's either, and obeys us as it would elsewhere.
    """
    os.setpgid(0, 0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, lambda *_: None)  # SIG_IGN would be handed on to what is started
    end_with_parent(signal.SIGKILL)


def end_with_parent(signum: signal.Signals) -> None:
    """Where the system can: this process is sent a signal when its parent has been killed."""
    if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
        parent_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(parent_death_signal, signum)


def killed_by(process: Any) -> str | None:
    """The name of the signal that ended a process; None: it ended by itself."""
    process.join(PATIENCE)
    code = process.exitcode
    return signal.Signals(-code).name if code is not None and code < 0 else None


def how_it_ended(process: Any) -> str:
    """In words, after "the process"."""
    name = killed_by(process)
    return f"was killed by {name}" if name else f"ended with code {process.exitcode}"


def end(process: Any) -> None:
    """Wait a little; then end one that does not listen."""
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        process.join()
