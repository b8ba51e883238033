"""Compile a step to a shared library, or find it in the cache.

Compiling takes about ten seconds and a C++ compiler. Loading from the cache takes a millisecond and
imports none of torch's compiler packages.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from rl_cli.core.errors import UpdateInterrupted
from rl_cli.engine import build_process
from rl_cli.engine.build_cache import (
    build_lock,
    cache_folder,
    digest,
    find_compiler,
    loaded,
    machine,
    prune,
    publish,
    read,
    scratch_folder,
    touch,
)
from rl_cli.engine.functions import Function, Runs, constants_argument, copied
from rl_cli.engine.hoisting import hoist_constants
from rl_cli.engine.inductor import build, build_digest, files_in
from rl_cli.engine.tracing import arithmetic, trace
from rl_cli.engine.trial import load_checked

COMPILING = "compiling the update step: about ten seconds, once; compile=false skips it"


class StepCompiler:
    """Compiles functions of tensors; a `functions.Compiler`.

    Args:
        identity: everything that a function's arithmetic depends on besides the shapes of its
            arguments.
        notify: receives a line when the first library is built, and the reason if one cannot be.
        hyper_parameters: constants whose other values use the same library, see `hoisting`.
        interrupted: whether a stop signal arrived.

    """

    def __init__(
        self,
        identity: str,
        notify: Callable[[str], None],
        hyper_parameters: Collection[float] = (),
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.identity, self.notify = identity, functools.cache(notify)  # each line once
        self.hyper_parameters, self.interrupted = hyper_parameters, interrupted

    def __call__(
        self, function: Function, arguments: list[torch.Tensor], changing: Sequence[int]
    ) -> Runs | None:
        """`eager_loop(function, changing)`, compiled for these shapes; None if that fails.

        A library has two names: that of the configuration, found without tracing, and that of the
        arithmetic, which many configurations share (all learning rates and gammas, for example).

        Raises:
            UpdateInterrupted: `interrupted` became true during a build.

        """
        shapes = str([(tuple(a.shape), a.dtype) for a in arguments])
        try:
            named = digest(self.identity, function.__name__, shapes, build_digest(), machine())
            entry = cache_folder() / f"{named}.txt"
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # missing or damaged
                name, *values = read(entry).decode().split()
                hoisted = [float(value) for value in values]
                found = load_checked(entry.with_name(name), function, arguments, changing, hoisted)
                touch(entry)
                return found
            library, hoisted = self._build(function, arguments, shapes)
            publish(" ".join([library.name, *map(repr, hoisted)]).encode(), entry)
            return load_checked(library, function, arguments, changing, hoisted)
        except UpdateInterrupted:
            raise
        except Exception as error:  # the compiler, the linker, disk space: anything may be missing
            if self.interrupted():
                raise UpdateInterrupted from error
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            self.notify(f"the update step runs uncompiled, slower: {reason}")
            return None

    def _build(
        self, function: Function, arguments: list[torch.Tensor], shapes: str
    ) -> tuple[Path, list[float]]:
        """-> the library, and the hoisted constants to call it with."""
        find_compiler()  # its message is one line; that of torch is a page
        prune()
        with scratch_folder() as scratch:
            with files_in(scratch):  # torch reads settings from its folder when it traces
                graph = trace(function, copied(arguments))
            hoisted = hoist_constants(graph, self.hyper_parameters)
            named = digest(arithmetic(graph), shapes, build_digest(), machine())
            library = cache_folder() / f"{named}.so"
            every = [*arguments, *constants_argument(hoisted)]
            threads = torch.get_num_threads()

            def job(notify: build_process.Notify) -> None:
                with build_lock(library.name):  # runs of a sweep need it at the same time
                    if loaded(library) is None:
                        notify(COMPILING)
                        made = build(graph, every, scratch, threads, notify)
                        publish(made.read_bytes(), library)

            if loaded(library) is None:
                build_process.run(job, self.notify, self.interrupted)
        return library, hoisted


OTHER_PACKAGES = frozenset({"cli", "sweep", "tracking"})
"""Packages that have no effect on what a run computes."""


def source_digest(*modules: Any) -> str:
    """Digest of this package's source and that of other modules: another loss is another function.

    Each file is read once: it may be edited while the process runs with what it held before.
    """
    return files_digest([Path(m.__file__) for m in modules if getattr(m, "__file__", None)])


def files_digest(files: Iterable[Path]) -> str:
    """Digest of this package's source and of other files, each of which is read once."""
    parts = [_package_digest(), *map(_file_digest, files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def content_digest(files: Iterable[Path]) -> str:
    """Digest of the contents of files, each of which is read once."""
    return hashlib.sha256(b"\0".join(map(_file_digest, files))).hexdigest()


@functools.cache
def _package_digest() -> bytes:
    package = Path(__file__).parents[1]
    files = [p for p in package.rglob("*") if p.suffix in (".py", ".c", ".h")]
    kept = [p for p in files if p.relative_to(package).parts[0] not in OTHER_PACKAGES]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(kept))).digest()


@functools.cache
def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
