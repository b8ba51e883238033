"""Machine code that was compiled here, kept on disk for the next run."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

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


KEEP = 1_000
"""Libraries in the cache, of 20 to 90 kB, 1.6 MB where torch had to make them; the least recently used
make room."""


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/rl-cli, or ~/.cache/rl-cli; readable by its owner alone."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "rl-cli"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def find_compiler() -> str:
    """$CXX, g++ or clang++.

    Raises:
        RuntimeError: there is none.

    """
    for name in (os.environ.get("CXX", "g++"), "clang++"):
        if path := shutil.which(name):
            return path
    raise RuntimeError("no C++ compiler is installed (g++)")


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Wait for other processes that hold this lock; it is free when its holder dies."""
    import fcntl

    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    lock.unlink(missing_ok=True)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Signals wait: they would reach the compiler too, and the run go on plain and be another run."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def forget_oldest() -> None:
    with contextlib.suppress(OSError):  # another process forgets at the same time
        _forget(cache_folder())


def _forget(folder: Path) -> None:
    libraries = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
    for path in libraries[:-KEEP]:
        path.unlink(missing_ok=True)


def place(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that appears whole or not at all."""
    scratch = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}")
    write(scratch)
    scratch.replace(path)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def machine() -> str:
    """What a library is good for: this torch on this kind of processor, with as many threads."""
    parts = [torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability()]
    with contextlib.suppress(OSError):  # the compiler uses all that this processor has
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        parts += [next(line for line in lines if line.startswith(("flags", "Features")))]
    return " ".join([*parts, str(torch.get_num_threads())])
