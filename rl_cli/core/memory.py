"""How much memory there is for what a run keeps."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

from rl_cli.core.errors import BadInput

RESERVE = 500_000_000
"""Bytes that Python, torch, networks and envs need beside the largest buffer."""

_side_by_side = 1


def share_among(runs: int) -> None:
    """From now on so many runs, each in a process of its own, have the memory between them."""
    global _side_by_side
    _side_by_side = runs


def physical() -> int:
    """Bytes of memory this machine has."""
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def limit(root: Path = Path("/")) -> int:
    """Bytes this process may have: its share of the machine, of its control group and those around.

    Args:
        root: where proc and sys are looked for.

    """
    limits = [amount // _side_by_side for amount in (physical(), *_of_groups(root))]
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(limits if allowed == resource.RLIM_INFINITY else [*limits, allowed])


def _of_groups(root: Path) -> list[int]:
    """Limits of control groups; "max" stands for none."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            unified = kinds == ""
            if not unified and "memory" not in kinds.split(","):
                continue
            mount = root / "sys/fs/cgroup" / ("" if unified else "memory")
            name = "memory.max" if unified else "memory.limit_in_bytes"
            group = mount / path.lstrip("/")
            for folder in (group, *group.parents):
                with contextlib.suppress(OSError, ValueError):
                    found.append(int((folder / name).read_text()))
                if folder == mount:
                    break
    return found


def require(key: str, number: int, each: int) -> None:
    """Refuse a buffer that would be killed for its size, perhaps hours later, when it is filled.

    Args:
        key: of the configuration.
        number: its value.
        each: bytes for each of these.

    Raises:
        BadInput: it does not fit; names the largest value that does.

    """
    fits = max((limit() - RESERVE) // each, 0)
    if number > fits:
        raise BadInput(
            f"this would take {number * each / 1e9:,.1f} GB of memory, and "
            f"{max(limit() - RESERVE, 0) / 1e9:,.1f} GB can be had{_together()}",
            f"{key}={number}",
            f"the largest that fits: {key}={fits:_}",
        )


def _together() -> str:
    return f" by each of {_side_by_side} runs side by side" if _side_by_side > 1 else ""
