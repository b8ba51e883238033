"""Compiled libraries kept on disk for later runs.

The folder holds `<name>.so`, whose name is a digest of everything the library depends on;
`<digest>.txt`, one per configuration, with the name of its library; 16 lock files; and, while a
library is built, a temporary folder `build_*`, which also holds the temporary files of torch and of the
compiler. Only its owner may be able to write to it (`private_folder`): the libraries are loaded into
the process.

Each file ends with the SHA-256 of its content. What does not agree with it is built anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import multiprocessing
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from rl_cli.core.processors import cpuinfo
from rl_cli.engine import private_folder

FLAGS = ("-O3", "-march=native", "-fopenmp-simd", "-shared", "-fPIC")

EXACT = ("-ffp-contract=off",)
"""Round after every operation, as numpy does: no fused multiply-add."""

KEEP = 1_000
"""Libraries to keep, of 20 to 90 kB each, or 1.6 MB if linked with torch's runtime."""

KEEP_ENTRIES = 4_000
"""Files of configurations to keep, of 100 bytes each."""

BUILD_TIMEOUT = 300.0
"""Seconds to wait for another process that builds; a build takes less than a minute on an idle machine."""

SCRATCH_LIFETIME = 3_600.0
"""Seconds after which the temporary folder of a build is left over from a killed process."""

SEAL_BYTES = 65
"""A line break and the SHA-256 of what is before, in hexadecimal digits; at the end of each file."""

COMPILERS = re.compile(rb"GCC: \([^)]*\) [0-9.]+|clang version [0-9.]+")
"""What compilers write into a library about themselves."""


class Library(ctypes.CDLL):
    """A library of the cache. `compiler`: name and version of what compiled it; empty: not known."""

    def __init__(self, name: str, compiler: str) -> None:
        super().__init__(name)
        self.compiler = compiler


def load(*sources: Path, flags: tuple[str, ...] = ()) -> Library:
    """The library of some C files, from the cache or compiled now, in about a second.

    Raises:
        OSError, RuntimeError: there is no compiler, it failed, or the folder cannot be used.

    """
    flags = (*FLAGS, *flags)
    texts = [source.read_text(encoding="utf-8") for source in sources]
    path = cache_folder() / f"{sources[0].stem}_{digest(*texts, *flags, machine())}.so"
    if (library := loaded(path)) is not None:
        return library
    with build_lock(path.name):
        if (library := loaded(path)) is None:  # another process has not built it either
            with scratch_folder() as scratch:
                _build(sources, flags, scratch / path.name)
                publish((scratch / path.name).read_bytes(), path)
            library = open_library(path)
    return library


def loaded(path: Path) -> Library | None:
    """The library, or None if the file does not exist or is damaged."""
    with contextlib.suppress(OSError):
        return open_library(path)
    return None


def open_library(path: Path) -> Library:
    """Load a library and mark it as used now.

    Raises:
        OSError: the file does not exist, is damaged, or is not a library.

    """
    content = read(path)
    key = str(path), hashlib.sha256(content).digest()
    if key not in _open:
        found = COMPILERS.search(content)
        _open[key] = _link(content, path, found[0].decode() if found else "")
    touch(path)
    return _open[key]


_open: dict[tuple[str, bytes], Library] = {}
"""Libraries of this process by path and content. They stay loaded until it ends."""


def _link(content: bytes, path: Path, compiler: str) -> Library:
    """Load these bytes and not the file: a process whose library is truncated is killed by SIGBUS."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create(path.name)
        try:
            os.truncate(file, len(content))
            os.pwrite(file, content, 0)
            # it stays open: the loader takes a second library of the same name for the first
            return Library(f"/proc/self/fd/{file}", compiler)
        except OSError:  # no /proc, or files in memory may not be executed
            os.close(file)
    return Library(str(path), compiler)


def read(path: Path) -> bytes:
    """The content of a file of the cache, without its seal. Links are not followed.

    Raises:
        OSError: the file does not exist, is damaged, or others can write to it.

    """
    more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | more)) as file:
        if not private_folder.is_own_file(os.fstat(file.fileno())):
            raise OSError(f"{path} is not a file of this user alone")
        data = file.read()
    content, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    if seal != _seal(content):
        raise OSError(f"{path} is damaged")
    return content


def _seal(content: bytes) -> bytes:
    return b"\n" + hashlib.sha256(content).hexdigest().encode()


def touch(path: Path) -> None:
    """Mark a file as used now: `prune` deletes the least recently used ones."""
    with contextlib.suppress(OSError):  # a read-only folder
        os.utime(path)


def _build(sources: Sequence[Path], flags: tuple[str, ...], path: Path) -> None:
    # g++ applies -x to one file only
    files = [word for source in sources for word in ("-x", "c", str(source))]
    compiler = find_compiler()
    code, errors = run_compiler([compiler, *flags, *files, "-o", str(path), "-lm"], path.parent)
    if code:
        raise RuntimeError(f"{compiler} failed: {(errors or 'no message').splitlines()[-1]}")


def run_compiler(command: list[str], scratch: Path) -> tuple[int, str]:
    """Run a compiler. -> its exit code, what it wrote to stderr. Its temporary files are in `scratch`.

    In the main process it gets a session of its own, so that Ctrl-C in the terminal does not reach
    it, and all its processes are killed if this call is left by an exception. A child process of the
    run has a process group of its own already, which is killed as a whole with the child.
    """
    own = multiprocessing.parent_process() is None
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        text=True, errors="replace", start_new_session=own, env={**os.environ, "TMPDIR": str(scratch)},
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
    """The folder of the cache: the first private one of `private_folder.candidates`.

    Raises:
        RuntimeError: there is none.

    """
    return private_folder.find().folder


@contextlib.contextmanager
def build_lock(name: str) -> Iterator[None]:
    """Hold the lock for building the library `name`; wait for a process that holds it, but at most BUILD_TIMEOUT.

    A holder that was stopped (Ctrl-Z, a frozen container) would otherwise stop all others. Then the library
    is built more than once; `publish` puts one of them in place.

    The system releases it when its holder ends. There are 16 lock files, which are never deleted:
    a process that waits on a deleted file would not exclude one that locks the new file. FileLock neither
    follows a link nor truncates the file.
    """
    from filelock import FileLock, Timeout

    path = cache_folder() / f"build_{digest(name)[0]}.lock"
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            path.unlink()
    lock = FileLock(path)
    try:
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=BUILD_TIMEOUT)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder on the file system of the cache, deleted afterwards."""
    with tempfile.TemporaryDirectory(
        prefix="build_", dir=cache_folder(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def publish(content: bytes, path: Path) -> None:
    """Write a file of the cache with its seal. It is there as a whole or not at all, after a power cut too."""
    with scratch_folder() as scratch:
        part = scratch / "part"
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content + _seal(content))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    with contextlib.suppress(OSError):  # Windows cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def prune() -> None:
    """Delete the least recently used libraries, entries without a library, and left-over folders."""
    with contextlib.suppress(OSError, RuntimeError):  # another process prunes at the same time
        folder = cache_folder()
        for library in _by_age(folder, "*.so")[:-KEEP]:
            library.unlink(missing_ok=True)
        kept = {os.fsencode(path.name) for path in folder.glob("*.so")}
        entries = _by_age(folder, "*.txt")
        for i, entry in enumerate(entries):
            if i < len(entries) - KEEP_ENTRIES or kept.isdisjoint(entry.read_bytes().split()[:1]):
                entry.unlink(missing_ok=True)
        for scratch in folder.glob("build_*/"):
            if time.time() - scratch.lstat().st_mtime > SCRATCH_LIFETIME:
                shutil.rmtree(scratch, ignore_errors=True)


def _by_age(folder: Path, pattern: str) -> list[Path]:
    """Least recently used first."""
    return sorted(folder.glob(pattern), key=lambda path: path.lstat().st_mtime)


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def machine() -> str:
    """The conditions of a library: version of torch, kind of processor, number of threads."""
    capability = torch.backends.cpu.get_cpu_capability()
    instructions = (line for line in cpuinfo() if line.startswith(("flags", "Features")))
    parts = [torch.__version__, platform.machine(), capability, *instructions]
    return " ".join([*parts, str(torch.get_num_threads())])
