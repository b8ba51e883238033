"""Build a traced graph as a shared library: torch's Inductor writes C++, the installed compiler compiles it.

The source that Inductor writes is one page: kernels, and a function that calls them and the matrix
products in turn. The torch headers it includes take three times as long to compile as the page.
`tensor_runtime.h` replaces them. A page that uses something which is missing there is built with
torch's own runtime.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rl_cli.engine.build_cache import find_compiler, run_compiler
from rl_cli.engine.tracing import constants_of

RUNTIME = Path(__file__).with_name("tensor_runtime.h")

OPTIONS: dict[str, Any] = {
    "cpp.enable_floating_point_contract_flag": "fast",  # x * y + z rounds once
    "cpp.vec_isa_ok": True,  # probing the compiler for vector instructions takes eight seconds
    "aot_inductor.precompile_headers": False,  # takes longer than compiling them once
}

SOURCE_ONLY = {"aot_inductor.package": True, "aot_inductor.package_cpp_only": True}

PYTHON_OPERATION = b"aoti_torch_proxy_executor_call_function"

RUNTIME_NAMES = re.compile(r"\baoti_torch_\w+")

KERNELS, MODEL, FUNCTION = '} // extern "C"\n', "CACHE_TORCH_D", "void AOTInductorModel::run_impl("

PREFIX = "#include <torch/csrc/inductor/cpp_prefix.h>\n"  # needed by the kernels

CONSTANT = re.compile(r'constants_info_\[(\d+)\]\.original_fqn = "([^"]*)"')

UNUSED_FLAGS = ("g1", "Wall", "pedantic")


def build_digest() -> str:
    """Text of everything a library depends on besides its arithmetic and the machine."""
    return Path(__file__).read_text(encoding="utf-8") + RUNTIME.read_text(encoding="utf-8")


def build(
    graph: torch.fx.GraphModule,
    arguments: Sequence[torch.Tensor],
    scratch: Path,
    threads: int,
    notify: Callable[[str], None],
) -> Path:
    """Build the library in the folder `scratch` and return its path.

    The library writes in place to the arguments that the graph writes to.

    Args:
        graph: as traced; loses its metadata.
        arguments: examples of their shapes.
        scratch: an empty folder.
        threads: threads of one call of the library.
        notify: receives the reason if the library uses torch's own runtime.

    Raises:
        RuntimeError: the compiler failed; an operation is implemented in Python only.

    """
    for node in graph.graph.nodes:
        node.meta.clear()  # Inductor would take metadata of the trace for its own
    path, options = scratch / "step.so", OPTIONS | {"cpp.threads": threads}
    with quiet(), files_in(scratch):
        try:
            page, flags = generate(graph, arguments, scratch, options)
            compile_page(with_own_runtime(page, constants_of(graph)), flags, scratch, path)
        except (Unsupported, LookupError, ValueError) as error:  # or the page has another format
            named = isinstance(error, Unsupported)
            reason = str(error) if named else f"{type(error).__name__}: {error}"
            notify(f"the compiled step uses torch's runtime, which is slower: {reason}")
            build_with_torch(graph, arguments, path, options)
    return path


class Unsupported(Exception):
    """The page uses something that tensor_runtime.h does not have."""


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of torch; no garbage collection among the 100,000 objects that Inductor makes."""
    collects = gc.isenabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch._inductor").setLevel(logging.ERROR)
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()


@contextmanager
def files_in(folder: Path) -> Iterator[None]:
    """Have torch and compilers keep their files in `folder`, and not where others may write or they stay.

    torch loads libraries from its folders, and their default names in /tmp are known to everybody.
    """
    values = {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "TMPDIR": str(folder),
    }
    before = {name: os.environ.get(name) for name in values}
    temporary, tempfile.tempdir = tempfile.tempdir, str(folder)
    os.environ.update(values)
    try:
        yield
    finally:
        tempfile.tempdir = temporary
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def generate(
    graph: torch.fx.GraphModule,
    arguments: Sequence[torch.Tensor],
    scratch: Path,
    options: dict[str, Any],
) -> tuple[str, dict[str, Any]]:
    """The C++ source that Inductor writes, and the flags that it would compile it with."""
    from torch._inductor import aot_compile

    options = options | SOURCE_ONLY | {"aot_inductor.output_path": f"{scratch}/"}
    files: Any = aot_compile(graph, tuple(arguments), options=options)
    files = [Path(file) for file in files]
    (page,) = (file for file in files if file.name.endswith(".wrapper.cpp"))
    (flags,) = (file for file in files if file.name.endswith("_linker_flags.json"))
    return page.read_text(encoding="utf-8"), json.loads(flags.read_text(encoding="utf-8"))


def with_own_runtime(page: str, constants: Mapping[str, torch.Tensor]) -> str:
    """The page's kernels, function and constants, with tensor_runtime.h in place of torch's runtime.

    Raises:
        Unsupported: the page uses more than tensor_runtime.h has, or has another format.

    """
    _, *rest = page.split(KERNELS)
    if len(rest) != 1 or MODEL not in rest[0] or FUNCTION not in rest[0]:
        raise Unsupported("unknown page format")
    kernels, model = rest[0].split(MODEL, 1)
    declarations, function = model.split(FUNCTION, 1)
    runtime = RUNTIME.read_text(encoding="utf-8")
    used = set(RUNTIME_NAMES.findall(function.partition(PREFIX)[0]))
    if missing := used - set(RUNTIME_NAMES.findall(runtime)):
        raise Unsupported(sorted(missing)[0])
    named = CONSTANT.findall(declarations)
    if [int(index) for index, _ in named] != list(range(len(named))):
        raise Unsupported("unknown order of constants")
    source = constants_source([constants[name] for _, name in named])
    return (
        f"{PREFIX}{runtime}{kernels}namespace torch::aot_inductor {{\n{source}{FUNCTION}{function}"
    )


def constants_source(constants: Sequence[torch.Tensor]) -> str:
    """Constants as C++ source, exact to the bit.

    Raises:
        Unsupported: a constant is neither float32 nor int64, or is not contiguous.

    """
    lines, tensors = [], []
    for i, constant in enumerate(constants):
        if constant.dtype not in (torch.float32, torch.int64) or not constant.is_contiguous():
            raise Unsupported(f"a constant of {constant.dtype}, strides {constant.stride()}")
        data = constant.detach().cpu()
        words = ", ".join(map(str, data.reshape(-1).view(torch.int32).tolist()))
        sizes, strides = (", ".join(map(str, (*x, 0))) for x in (data.shape, data.stride()))
        lines += [
            f"alignas(64) static int32_t numbers_{i}[] = {{{words}}};",
            f"static const int64_t sizes_{i}[] = {{{sizes}}}, strides_{i}[] = {{{strides}}};",
        ]
        fields = f"numbers_{i}, {data.dim()}, sizes_{i}, strides_{i}, {data.element_size()}"
        tensors.append(f"Tensor{{{fields}, nullptr}}")
    listed = ", ".join(tensors or ["Tensor{}"])
    return "\n".join([*lines, f"RAIIAtenTensorHandle constants[] = {{{listed}}};\n"])


def compile_page(source: str, flags: dict[str, Any], scratch: Path, path: Path) -> None:
    """Compile a source to a library.

    Raises:
        Unsupported: the source does not compile, or the library needs a function that does not exist.
        RuntimeError: the compiler was killed, or could not read or write a file.

    """
    file = scratch / "step.cpp"
    file.write_text(source, encoding="utf-8")
    code, errors = run_compiler([
        find_compiler(), str(file), "-w", "-Wl,-Bsymbolic,-z,now,--no-as-needed", "-o", str(path),
        *(f"-D{name.strip()}" for name in flags["definitions"]),
        *(f"-I{folder}" for folder in flags["include_dirs"]),
        *(f"-{flag}" for flag in flags["cflags"] if flag not in UNUSED_FLAGS),
        *" ".join(flags["passthrough_args"]).split(),
        *(f"-L{folder}" for folder in flags["libraries_dirs"]),
        *(f"-l{library}" for library in flags["libraries"]),
    ], scratch)  # fmt: skip
    if code:
        kind = RuntimeError if "fatal error" in errors or code < 0 else Unsupported
        lines = (errors or "the compiler failed without a message").splitlines()
        raise kind(next((line for line in lines if "error:" in line), lines[-1]))
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        raise Unsupported(str(error)) from error


def build_with_torch(
    graph: torch.fx.GraphModule,
    arguments: Sequence[torch.Tensor],
    path: Path,
    options: dict[str, Any],
) -> None:
    """Build the library with torch's own runtime and tensors.

    Raises:
        RuntimeError: an operation is implemented in Python only.

    """
    from torch._inductor import aot_compile

    output = {"aot_inductor.output_path": str(path), "cpp.vec_isa_ok": None}
    aot_compile(graph, tuple(arguments), options=options | output)
    if PYTHON_OPERATION in path.read_bytes():
        raise RuntimeError("an operation is implemented in Python only")
