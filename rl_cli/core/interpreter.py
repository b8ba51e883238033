"""State of the interpreter and of its process that code of an env may change, and other code relies on.

Hooks, streams, signals and limits. Those of torch and numpy: `process_settings`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import locale
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from rl_cli.core.processes import in_main_thread

HANDLED = ("SIGPIPE", "SIGXFSZ", "SIGCHLD")
"""Signals that Python ignores so that a write fails instead, and the one for child processes that end."""

LIMITS = ("RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_NPROC")
"""Limits of the process that writes, files, memory and child processes need."""

RESTRICTIVE = 0o077
"""The file mode mask while it is read, which needs two calls: another thread may create a file in between."""


class Setting(NamedTuple):
    """One setting: its name for the user, how to read it and how to set it."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]


Wanted = tuple[Setting, Any]
"""A setting and the value that it is to have."""


def now(settings: Iterable[Setting]) -> list[Wanted]:
    """Settings with their present values."""
    return [(setting, setting.get()) for setting in settings]


def set_again(wanted: Iterable[Wanted]) -> list[str]:
    """Set what differs. -> the names of the settings that differed."""
    changed = []
    for setting, value in wanted:
        if _differs(setting.get(), value):
            # a hard limit was lowered; a handler is C code's; a locale is gone
            with contextlib.suppress(OSError, ValueError, TypeError, locale.Error):
                setting.put(value)
            changed.append(setting.name)
    return changed


def _differs(found: Any, value: Any) -> bool:
    """Whether two values differ. An object of an env's may raise anything when it is compared."""
    try:
        return found is not value and bool(found != value)
    except Exception:
        return True


def settings() -> list[Setting]:
    """Settings of this process, to be read now by `now`.

    Limits that are raised, and folders that are added to the module search path, do no harm: of these the
    setting is that nothing is lower, or missing.
    """
    signals = _signals() if in_main_thread() else []
    return [_arguments(), *_hooks(), *_limits(), *_process(), *signals]


def streams() -> list[Setting]:
    """Standard output and error. A live view replaces them too, so they are kept while it does not begin or end."""
    return [_attribute("sys.stdout", sys, "stdout"), _attribute("sys.stderr", sys, "stderr")]


def _attribute(name: str, owner: Any, attribute: str) -> Setting:
    return Setting(
        name,
        functools.partial(getattr, owner, attribute, None),
        functools.partial(setattr, owner, attribute),
    )


def _arguments() -> Setting:
    """The command line, which a run records; a copy, since the list itself may be changed."""
    return Setting(
        "sys.argv",
        lambda: list(sys.argv) if isinstance(sys.argv, list) else None,
        lambda words: setattr(sys, "argv", list(words or [])),
    )


def _hooks() -> list[Setting]:
    """What the interpreter calls for exceptions and warnings."""
    return [
        _attribute("sys.excepthook", sys, "excepthook"),
        _attribute("sys.unraisablehook", sys, "unraisablehook"),
        _attribute("sys.displayhook", sys, "displayhook"),
        _attribute("threading.excepthook", threading, "excepthook"),
        _attribute("warnings.showwarning", warnings, "showwarning"),
    ]


def _limits() -> list[Setting]:
    """The recursion limit and the limits of the process."""
    depth = sys.getrecursionlimit()
    found = [
        Setting(
            "the recursion limit",
            lambda: sys.getrecursionlimit() >= depth,
            lambda _: sys.setrecursionlimit(depth),
        )
    ]
    with contextlib.suppress(ImportError):  # Windows
        import resource

        kinds = [getattr(resource, name) for name in LIMITS if hasattr(resource, name)]
        soft = [resource.getrlimit(kind)[0] for kind in kinds]

        def are_kept() -> bool:
            return all(
                _at_least(resource.getrlimit(k)[0], s) for k, s in zip(kinds, soft, strict=True)
            )

        def put(_: object) -> None:
            for kind, wanted in zip(kinds, soft, strict=True):
                value, hard = resource.getrlimit(kind)
                if not _at_least(value, wanted):
                    highest = wanted if _at_least(hard, wanted) else hard
                    resource.setrlimit(kind, (highest, hard))

        found.append(Setting("a limit of the process (setrlimit)", are_kept, put))
    return found


def _at_least(limit: int, other: int) -> bool:
    """Whether a limit is no lower than another; -1 is none."""
    return limit == -1 or (other != -1 and limit >= other)


def _process() -> list[Setting]:
    path = list(sys.path)

    def add_again(_: object) -> None:
        sys.path.extend(folder for folder in path if folder not in sys.path)

    def collect(wanted: bool) -> None:
        gc.enable() if wanted else gc.disable()

    return [
        Setting("the module search path", lambda: set(path) <= set(sys.path), add_again),
        Setting("the garbage collector", gc.isenabled, collect),
        Setting("the file mode mask", _mask, os.umask),
        Setting(
            "the locale",
            lambda: locale.setlocale(locale.LC_ALL),
            lambda name: locale.setlocale(locale.LC_ALL, name),
        ),
    ]


def _mask() -> int:
    mask = os.umask(RESTRICTIVE)
    os.umask(mask)
    return mask


def handler(signum: signal.Signals) -> Setting:
    """The handler of a signal."""
    return Setting(
        f"the handler of {signum.name}",
        functools.partial(signal.getsignal, signum),
        functools.partial(signal.signal, signum),
    )


def _signals() -> list[Setting]:
    """Of the main thread, where alone they can be set."""
    found = [handler(getattr(signal, name)) for name in HANDLED if hasattr(signal, name)]
    if hasattr(signal, "pthread_sigmask"):
        found.append(
            Setting(
                "the signals that are blocked",
                lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
                lambda wanted: signal.pthread_sigmask(signal.SIG_SETMASK, wanted),
            )
        )
    return found
