"""The learning step as machine code: torch's ahead-of-time compiler, and a cache on disk.

A compiled step is a small shared library. Making one takes half a minute and a C++ compiler; loading
it from the cache takes a millisecond, and neither the compiler nor torch's compile packages.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rl_cli.learner import Function


class StepCompiler:
    """Compiles functions of tensors, or finds them in the cache.

    Args:
        identity: all that a function's arithmetic depends on beside the shapes of its arguments.
        notify: told once when it has to compile, and why when it cannot.

    """

    def __init__(self, identity: str, notify: Callable[[str], None]) -> None:
        self.identity, self.notify = identity, notify

    def __call__(self, function: Function, arguments: list[torch.Tensor]) -> Function | None:
        """The function compiled for these shapes; None where that is not possible.

        Two names lead to a library: that of the configuration, found without tracing anything, and
        that of the arithmetic, which many configurations share (all learning rates, say).
        """
        shapes = str([(tuple(a.shape), a.dtype) for a in arguments])
        known = cache_folder() / f"{_digest(self.identity, shapes, _machine())}.txt"
        try:
            library = cache_folder() / known.read_text() if known.exists() else None
            if library is None or not library.exists():
                library = self._compile(function, arguments, shapes)
                _place(known, lambda path: path.write_text(library.name))
            return load(library)
        except Exception as error:  # a compiler, a linker, a disk: anything may be missing
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            self.notify(f"the learning step runs uncompiled, slower: {reason}")
            return None

    def _compile(self, function: Function, arguments: list[torch.Tensor], shapes: str) -> Path:
        if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
            raise RuntimeError("no C++ compiler is installed (g++)")
        graph = trace(function, arguments)
        library = cache_folder() / f"{_digest(arithmetic(graph), shapes, _machine())}.so"
        if not library.exists():
            self.notify("compiling the learning step; this is done once")
            _place(library, lambda path: build(graph, arguments, path))
        return library


def trace(function: Function, arguments: list[torch.Tensor]) -> torch.fx.GraphModule:
    """The function as a list of operations, its gradient taken."""
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(function)(*arguments)


def arithmetic(graph: torch.fx.GraphModule) -> str:
    """The operations and every constant among them, as text."""
    constants = {k: v for k, v in vars(graph).items() if isinstance(v, torch.Tensor)}
    constants |= dict(graph.named_buffers()) | dict(graph.named_parameters())
    return graph.code + str({name: value.tolist() for name, value in constants.items()})


def build(graph: torch.fx.GraphModule, arguments: list[torch.Tensor], path: Path) -> None:
    """Write the library. Arguments that the graph writes to are written in place."""
    from torch._inductor import aot_compile

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as scratch:
        warnings.simplefilter("ignore")
        logging.getLogger("torch._inductor").setLevel(logging.ERROR)
        program = torch.export.export(graph, tuple(arguments))
        inside = str(Path(scratch) / "step.so")
        options = {"aot_inductor.output_path": inside, "cpp.use_decompose_tanh": True}
        aot_compile(program.module(), tuple(arguments), options=options)
        shutil.copyfile(inside, path)


def load(library: Path) -> Function:
    """The compiled function."""
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1)

    def run(*arguments: torch.Tensor) -> list[torch.Tensor]:
        return runner.run(list(arguments))

    return run


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/rl-cli, or ~/.cache/rl-cli; readable by its owner alone."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "rl-cli"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _place(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that appears whole or not at all."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    write(scratch)
    scratch.replace(path)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _machine() -> str:
    """What a library is good for: this torch on this kind of processor."""
    return f"{torch.__version__} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def source_digest(*modules: Any) -> str:
    """Of this package's source and that of other modules: a changed loss is another function."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    files += [Path(m.__file__) for m in modules if getattr(m, "__file__", None)]
    return _digest(*(path.read_text() for path in files))
