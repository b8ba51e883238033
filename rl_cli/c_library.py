"""C beside Python: a source file of this package as a library, compiled once per machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Sequence
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


def load(*sources: Path, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library of some C files, from the cache or made now, in a second.

    Raises:
        OSError, RuntimeError: there is no compiler, it failed, or no place to write to.

    """
    flags = (*FLAGS, *flags)
    texts = [source.read_text() for source in sources]
    name = f"{sources[0].stem}_{digest(*texts, *flags, machine())}.so"
    path = cache_folder() / name
    if (library := _loaded(path)) is not None:
        return library
    with alone(path.with_suffix(".lock")), undisturbed():
        if (library := _loaded(path)) is None:  # and nobody else has made it meanwhile
            place(path, lambda scratch: _build(sources, flags, scratch))
            library = ctypes.CDLL(str(path))
    return library


def _loaded(path: Path) -> ctypes.CDLL | None:
    """None: not there yet, or broken."""
    with contextlib.suppress(OSError):
        library = ctypes.CDLL(str(path))
        os.utime(path)  # the cache keeps what was used last
        return library
    return None


def _build(sources: Sequence[Path], flags: tuple[str, ...], path: Path) -> None:
    compiler = find_compiler()
    files = [
        word for source in sources for word in ("-x", "c", str(source))
    ]  # g++ forgets the first
    command = [compiler, *flags, *files, "-o", str(path), "-lm"]
    made = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if made.returncode:
        why = (made.stderr.strip() or "silently").splitlines()[-1]
        raise RuntimeError(f"{compiler} failed: {why}")
