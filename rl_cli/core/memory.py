"""Memory available to a run, and refusal of buffers that do not fit."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from rl_cli.core.errors import BadInput

RESERVE = 500_000_000
"""Bytes that Python, torch, networks and envs need in addition to the largest buffer."""

_side_by_side = 1  # concurrent runs


def share_among(runs: int) -> None:
    """Divide the memory among this number of concurrent runs. Called once in each run's process."""
    global _side_by_side
    _side_by_side = runs


def physical() -> int:
    """Bytes of memory of this machine; sys.maxsize where the system does not report it."""
    try:
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # e.g. Windows
        return sys.maxsize


def limit(root: Path = Path("/")) -> int:
    """Bytes this process may use: its share of the machine and of its control groups, and ulimit -v.

    Args:
        root: the folder that contains proc and sys.

    """
    limits = [amount // _side_by_side for amount in (physical(), *_of_groups(root))]
    return min([*limits, *_of_process()])


def _of_process() -> list[int]:
    """The limit of this process's address space, if there is one."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return []
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if allowed == resource.RLIM_INFINITY else [allowed]


def _of_groups(root: Path) -> list[int]:
    """Limits of this process's control groups (Linux) and their parents; "max" means no limit."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            unified = kinds == ""
            if not unified and "memory" not in kinds.split(","):
                continue
            mount = root / "sys/fs/cgroup" / ("" if unified else "memory")
            name = "memory.max" if unified else "memory.limit_in_bytes"
            group = mount / path.lstrip("/")
            for folder in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError):
                    found.append(int((folder / name).read_text(encoding="utf-8")))
                if folder == mount:
                    break
    return found


def require(key: str, number: int, each: int) -> None:
    """Refuse a buffer for which the memory would run out later, while it is filled.

    Args:
        key: the configuration key of the size.
        number: its value.
        each: bytes per item.

    Raises:
        BadInput: the buffer does not fit; the error names the largest size that does.

    """
    fits = max((limit() - RESERVE) // each, 0)
    if number > fits:
        raise BadInput(
            f"this needs {number * each / 1e9:,.1f} GB of memory, and "
            f"{max(limit() - RESERVE, 0) / 1e9:,.1f} GB are available{_share()}",
            f"{key}={number}",
            f"the largest that fits: {key}={fits:_}",
        )


def _share() -> str:
    return f" to each of {_side_by_side} concurrent runs" if _side_by_side > 1 else ""
