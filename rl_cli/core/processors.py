"""Processors of this machine: their number, divided among concurrent runs, and their description."""

from __future__ import annotations

import functools
import os
from pathlib import Path


def available() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share(runs: int) -> int:
    """Threads of each of `runs` concurrent runs: the processors divided by their number, at least 1."""
    return max(1, available() // runs)


def number_of(threads: int | str) -> int:
    """Number of threads that `threads=` selects in a run alone on this machine."""
    return threads if isinstance(threads, int) else share(1)


@functools.cache
def cpuinfo() -> tuple[str, ...]:
    """The lines of /proc/cpuinfo about the first processor; empty without such a file (not Linux)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ()
    return tuple(text.partition("\n\n")[0].splitlines())
