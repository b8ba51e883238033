"""C beside Python: a source file of this package as a library, compiled once per machine."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from rl_cli.library_cache import (
    alone,
    cache_folder,
    digest,
    find_compiler,
    machine,
    place,
    undisturbed,
)

FLAGS = ("-O3", "-march=native", "-fopenmp-simd", "-shared", "-fPIC")
EXACT = ("-ffp-contract=off",)
"""Every operation rounds, as numpy's do."""


def load(source: Path, *more_flags: str) -> ctypes.CDLL:
    """The library of a C file, from the cache or made now, in a second.

    Raises:
        OSError, RuntimeError: there is no compiler, it failed, or no place to write to.

    """
    flags = (*FLAGS, *more_flags)
    name = f"{source.stem}_{digest(source.read_text(), *flags, machine())}.so"
    path = cache_folder() / name
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # not there yet, or broken
        with alone(path.with_suffix(".lock")), undisturbed():
            place(path, lambda scratch: _build(source, flags, scratch))
        return ctypes.CDLL(str(path))


def _build(source: Path, flags: tuple[str, ...], path: Path) -> None:
    compiler = find_compiler()
    command = [compiler, *flags, "-x", "c", str(source), "-o", str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        why = (made.stderr.strip() or "silently").splitlines()[-1]
        raise RuntimeError(f"{compiler} failed: {why}")
