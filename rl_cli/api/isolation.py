"""Isolation of a call: one at a time in a process, whose state it does not change."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rl_cli.core.errors import BadInput
from rl_cli.core.seeding import globals_kept

_lock = threading.Lock()
_owner = 0
"""Process id of the holder of the lock: a forked child process inherits the lock, and does not hold it."""


@contextmanager
def isolated() -> Iterator[None]:
    """Restore after the body the settings of the process that a run changes.

    These are environment variables, the module search path, and the generators of `random` and `np.random`.
    Runs restore torch's settings, signal handlers and the current folder themselves, and `cli.compose` the
    configuration of Hydra.

    Raises:
        BadInput: another thread is training or evaluating: its run would change what this one draws.

    """
    global _owner
    if not _lock.acquire(blocking=False) and _owner == os.getpid():
        raise BadInput(
            "another thread of this process is training or evaluating",
            "rl_cli.train, rl_cli.evaluate",
            "call one after the other, or use processes",
        )
    _owner = os.getpid()
    try:
        with globals_kept(), _environment_kept():
            yield
    finally:
        _owner = 0
        _lock.release()


@contextmanager
def _environment_kept() -> Iterator[None]:
    variables, path = dict(os.environ), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in [name for name in os.environ if name not in variables]:
            del os.environ[name]
        for name, value in variables.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
