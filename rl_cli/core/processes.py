"""Forked child processes: signals reach them only through the parent, and they end with it.

Linux only where stated; `can_fork` returns whether child processes are available at all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from rl_cli.core import terminal
from rl_cli.core.running_time import RunningTime

END_TIMEOUT = 2.0
"""Seconds for a child process to end by itself."""

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)  # Windows has only the first two
)
"""Signals that stop a run."""


def in_main_thread() -> bool:
    """Whether this is the main thread of its process: only there can signals be handled.

    Other threads do not fork either: the child would have the locks that the others hold at that moment.
    """
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def no_silent_exit() -> Iterator[None]:
    """In the body, `os._exit` of this process raises SystemExit: an env must not end a run unseen.

    In child processes, and in other threads, it ends the process as usual.
    """
    own, original = os.getpid(), os._exit

    def leave(status: int) -> NoReturn:
        if os.getpid() == own and in_main_thread():
            raise SystemExit(status)
        original(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit = original


class _Forks:
    """Counts the forks between this process and the one that imported this module."""

    def __init__(self) -> None:
        self.depth = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._add)

    def _add(self) -> None:
        self.depth += 1


forks = _Forks()


def end_stray_child(depth: int) -> None:
    """End this process if it was forked since `forks.depth` was `depth`.

    A child process that an env forks and lets return would continue the run at the same time as its parent, and
    write the same files.
    """
    if forks.depth != depth:
        terminal.urgent("note: a process that the env forked returned from the env, and was ended")
        os._exit(1)


def can_fork() -> bool:
    """Whether child processes can be forked. Not on macOS, whose system libraries do not allow it."""
    return hasattr(os, "fork") and sys.platform != "darwin"


def fork(act: Callable[[Connection], None]) -> tuple[Any, Connection]:
    """Run `act` in a forked child process, with one end of a pipe. -> the process, the other end.

    Raises:
        OSError: the system cannot create another process, or not by fork.

    """
    if not can_fork():
        raise OSError("this system has no fork")
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    parent = os.getpid()

    def run() -> None:
        ours.close()  # else the child would not notice that the parent has closed its end
        _follow_parent(parent)
        # An env may start processes of its own, which a daemon must not. Marked here, in the child:
        # at its exit the parent still ends this process instead of waiting for it.
        multiprocessing.current_process().daemon = False
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


def _follow_parent(parent: int) -> None:
    """Ignore stop signals, on which the parent closes the pipe; end if the parent is killed.

    In a process group of its own, so that subprocesses of an env or encoder get no signal from the
    terminal either.
    """
    os.setpgid(0, 0)
    for signum in STOP_SIGNALS:
        signal.signal(signum, _ignore)  # subprocesses would inherit SIG_IGN
    _let_signals_end_grandchildren()
    end_with_parent(signal.SIGKILL, parent)


def _ignore(signum: int, frame: object) -> None:
    """A handler that does nothing; unlike SIG_IGN, child processes do not inherit it."""


def _let_signals_end_grandchildren() -> None:
    """Give signals their usual effect in processes that an env forks: it may end them by `terminate`.

    Signals are blocked during the fork, so that none is ignored in between.
    """
    masks: list[Any] = []

    def before() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS))

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    def after_in_child() -> None:
        for signum in STOP_SIGNALS:
            if signal.getsignal(signum) is _ignore:
                signal.signal(signum, signal.SIG_DFL)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)


def end_with_parent(signum: signal.Signals, parent: int | None = None) -> None:
    """Linux: have the kernel send this process a signal when its parent ends.

    Args:
        signum: of the signal.
        parent: number of the parent process, if it was known before the fork. If that one has ended, the signal is
            raised here.

    """
    if sys.platform == "linux" and in_main_thread():
        _send_when_parent_ends(signum)
        if parent not in (None, os.getppid()):
            signal.raise_signal(signum)


def outlive_parent() -> None:
    """Undo `end_with_parent`. The kernel sends its signal several times: each thread of the parent may adopt us."""
    if sys.platform == "linux" and in_main_thread():
        _send_when_parent_ends(0)


def _send_when_parent_ends(signum: int) -> None:
    import ctypes

    parent_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(parent_death_signal, int(signum))


CHECKS = 16
"""How often the wait for another process looks whether this one was stopped."""


def poll_running(pipe: Connection, timeout: float | None) -> bool:
    """Wait until something can be read. -> False: not within `timeout` seconds (None: no limit).

    Time in which this process was stopped (Ctrl-Z) does not count.
    """
    if timeout is None:
        return pipe.poll(None)
    interval = timeout / CHECKS
    running = RunningTime(interval)
    while not pipe.poll(interval):
        if running.advance() >= timeout - interval / 2:  # `poll` may return early
            return False
    return True


def killed_by(process: Any) -> str | None:
    """The name of the signal that ended a process; None: it ended by itself."""
    process.join(END_TIMEOUT)
    code = process.exitcode
    return signal.Signals(-code).name if code is not None and code < 0 else None


def how_it_ended(process: Any) -> str:
    """How a process ended, as the predicate of a sentence: "was killed by SIGKILL"."""
    name = killed_by(process)
    return f"was killed by {name}" if name else f"ended with code {process.exitcode}"


def end(process: Any) -> None:
    """Wait until a process ends; kill it after END_TIMEOUT seconds, and what it has started."""
    process.join(END_TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
    with contextlib.suppress(OSError):  # the group is empty: it started no process, or ended them
        os.killpg(process.pid, signal.SIGKILL)
