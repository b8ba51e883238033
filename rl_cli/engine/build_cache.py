"""Compiled libraries kept on disk for later runs.

The folder holds `<name>.so`, whose name is a digest of everything the library depends on;
`<digest>.txt`, one per configuration, with the name of its library; 16 lock files; and, while a
library is built, a temporary folder `build_*`. Only its owner may write to it: the libraries are
loaded into the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import multiprocessing
import os
import platform
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

FLAGS = ("-O3", "-march=native", "-fopenmp-simd", "-shared", "-fPIC")

EXACT = ("-ffp-contract=off",)
"""Round after every operation, as numpy does: no fused multiply-add."""

KEEP = 1_000
"""Libraries to keep, of 20 to 90 kB each, or 1.6 MB if linked with torch's runtime."""

KEEP_ENTRIES = 4_000
"""Files of configurations to keep, of 100 bytes each."""

SCRATCH_LIFETIME = 86_400.0
"""Seconds after which the temporary folder of a build is left over from a killed process."""


def load(*sources: Path, flags: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library of some C files, from the cache or compiled now, in about a second.

    Raises:
        OSError, RuntimeError: there is no compiler, it failed, or the folder cannot be used.

    """
    flags = (*FLAGS, *flags)
    texts = [source.read_text() for source in sources]
    path = cache_folder() / f"{sources[0].stem}_{digest(*texts, *flags, machine())}.so"
    if (library := loaded(path)) is not None:
        return library
    with build_lock(path.name):
        if (library := loaded(path)) is None:  # another process has not built it either
            with scratch_folder() as scratch:
                _build(sources, flags, scratch / path.name)
                publish(scratch / path.name, path)
            library = open_library(path)
    return library


def loaded(path: Path) -> ctypes.CDLL | None:
    """The library, or None if the file does not exist or is damaged."""
    with contextlib.suppress(OSError):
        return open_library(path)
    return None


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library and mark it as used now.

    Raises:
        OSError: the file does not exist, is truncated, or is not a library.

    """
    if not _is_whole(path):  # the process would be killed by SIGBUS
        raise OSError(f"{path} is truncated")
    library = ctypes.CDLL(str(path))
    touch(path)
    return library


def touch(path: Path) -> None:
    """Mark a file as used now: `prune` deletes the least recently used ones."""
    with contextlib.suppress(OSError):  # a read-only folder
        os.utime(path)


def _is_whole(path: Path) -> bool:
    """Whether an ELF file reaches to the end of its section table; True for other kinds of files."""
    with path.open("rb") as file:
        header = file.read(64)
    if not header.startswith(b"\x7fELF\x02") or len(header) < 64:
        return True
    (table,) = struct.unpack_from("<Q", header, 0x28)  # e_shoff
    size, count = struct.unpack_from("<HH", header, 0x3A)  # e_shentsize, e_shnum
    return bool(table + size * count <= path.stat().st_size)


def _build(sources: Sequence[Path], flags: tuple[str, ...], path: Path) -> None:
    # g++ applies -x to one file only
    files = [word for source in sources for word in ("-x", "c", str(source))]
    compiler = find_compiler()
    code, errors = run_compiler([compiler, *flags, *files, "-o", str(path), "-lm"])
    if code:
        raise RuntimeError(f"{compiler} failed: {(errors or 'no message').splitlines()[-1]}")


def run_compiler(command: list[str]) -> tuple[int, str]:
    """Run a compiler. -> its exit code, what it wrote to stderr.

    In the main process it gets a session of its own, so that Ctrl-C in the terminal does not reach
    it, and all its processes are killed if this call is left by an exception. A child process of the
    run has a process group of its own already, which is killed as a whole with the child.
    """
    own = multiprocessing.parent_process() is None
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        text=True, errors="replace", start_new_session=own,
    ) as process:  # fmt: skip
        try:
            _, errors = process.communicate()
        except BaseException:
            if own and hasattr(os, "killpg"):
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            raise
    return process.returncode, errors.strip()


def find_compiler() -> str:
    """Path of $CXX, g++ or clang++.

    Raises:
        RuntimeError: none of them is installed.

    """
    for name in (os.environ.get("CXX", "g++"), "clang++"):
        if path := shutil.which(name):
            return path
    raise RuntimeError("no C++ compiler is installed (g++)")


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/rl-cli or, if that is no absolute path, ~/.cache/rl-cli.

    Raises:
        RuntimeError: another user owns it or can write to it.

    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # the XDG standard: relative paths are ignored
        base = Path.home() / ".cache"
    folder = base / "rl-cli"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        raise RuntimeError(f"the cache folder {folder} belongs to another user; set XDG_CACHE_HOME")
    if hasattr(os, "getuid") and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RuntimeError(f"other users can write to the cache folder; run chmod 700 {folder}")
    return folder


@contextlib.contextmanager
def build_lock(name: str) -> Iterator[None]:
    """Hold the lock for building the library `name`; wait for a process that holds it.

    The system releases it when its holder ends. There are 16 lock files, which are never deleted:
    a process that waits on a deleted file would not exclude one that locks the new file.
    """
    from filelock import FileLock

    with FileLock(cache_folder() / f"build_{digest(name)[0]}.lock"):
        yield


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder on the file system of the cache, deleted afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="build_", dir=cache_folder(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def publish(file: Path, path: Path) -> None:
    """Move a finished file to its place; it is there as a whole or not at all, after a power cut too."""
    with file.open("rb+") as written:
        os.fsync(written.fileno())
    file.replace(path)


def prune() -> None:
    """Delete the least recently used libraries, entries without a library, and left-over folders."""
    with contextlib.suppress(OSError, RuntimeError):  # another process prunes at the same time
        folder = cache_folder()
        for library in _by_age(folder, "*.so")[:-KEEP]:
            library.unlink(missing_ok=True)
        kept = {path.name for path in folder.glob("*.so")}
        entries = _by_age(folder, "*.txt")
        for i, entry in enumerate(entries):
            if i < len(entries) - KEEP_ENTRIES or entry.read_text().split(" ")[0] not in kept:
                entry.unlink(missing_ok=True)
        for scratch in folder.glob("build_*/"):
            if time.time() - scratch.stat().st_mtime > SCRATCH_LIFETIME:
                shutil.rmtree(scratch, ignore_errors=True)


def _by_age(folder: Path, pattern: str) -> list[Path]:
    """Least recently used first."""
    return sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def machine() -> str:
    """What a library works with: this torch, this kind of processor, this number of threads."""
    parts = [torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability()]
    with contextlib.suppress(OSError):  # the compiler uses all instructions of this processor
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        parts += [next(line for line in lines if line.startswith(("flags", "Features")))]
    return " ".join([*parts, str(torch.get_num_threads())])
