"""A traced function as a shared library: torch's ahead-of-time compiler writes C++, the machine's compiles it.

The text that torch writes is a page: kernels, and a function that calls them and the products in turn.
What it includes is not: torch's runtime of such functions takes a compiler thrice as long as the page.
`tensor_runtime.h` stands in for it. A function that asks for what is not there is left to torch altogether.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rl_cli.engine.build_cache import find_compiler

RUNTIME = Path(__file__).with_name("tensor_runtime.h")

OPTIONS: dict[str, Any] = {
    "cpp.enable_floating_point_contract_flag": "fast",  # x * y + z rounds once
    "cpp.vec_isa_ok": True,  # asking the compiler about each kind of vectors takes eight seconds
    "aot_inductor.precompile_headers": False,  # which takes longer than they do
}

SOURCES = {"aot_inductor.package": True, "aot_inductor.package_cpp_only": True}

PROXY = b"aoti_torch_proxy_executor_call_function"

NAMES = re.compile(r"\baoti_torch_\w+")

KERNELS, OWN, FUNCTION = '} // extern "C"\n', "CACHE_TORCH_D", "void AOTInductorModel::run_impl("

PREFIX = "#include <torch/csrc/inductor/cpp_prefix.h>\n"  # what kernels ask for

CONSTANT = re.compile(r'constants_info_\[(\d+)\]\.original_fqn = "([^"]*)"')

NEEDLESS = ("g1", "Wall", "pedantic")


def way_of_building() -> str:
    """What a library depends on beside its arithmetic."""
    return Path(__file__).read_text() + RUNTIME.read_text()


def build(
    graph: torch.fx.GraphModule,
    arguments: Sequence[torch.Tensor],
    path: Path,
    notify: Callable[[str], None],
) -> None:
    """Write the library. Arguments that the graph writes to are written in place.

    `notify` is told why, if it is to be torch's own.

    Raises:
        RuntimeError: a compiler refused; an operation exists in Python alone.

    """
    for node in graph.graph.nodes:
        node.meta.clear()  # what tracing left there, torch would take for its own
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        try:
            page, flags = written(graph, arguments, Path(scratch))
            compile_page(on_step_h(page, constants_of(graph)), flags, Path(scratch), path)
        except (Unknown, LookupError, ValueError) as why:  # or the page is written in another way
            reason = str(why) if isinstance(why, Unknown) else f"{type(why).__name__}: {why}"
            notify(f"the compiled step takes torch's runtime, slower than ours: {reason}")
            torchs_own(graph, arguments, Path(scratch), path)


class Unknown(Exception):
    """Something that tensor_runtime.h does not have."""


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of torch's, and no looking for garbage among the hundred thousands of objects it makes."""
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


def written(
    graph: torch.fx.GraphModule, arguments: Sequence[torch.Tensor], scratch: Path
) -> tuple[str, dict[str, Any]]:
    """What torch's compiler writes, and with which flags it would have it compiled."""
    from torch._inductor import aot_compile

    options = OPTIONS | SOURCES | {"aot_inductor.output_path": f"{scratch}/"}
    files: Any = aot_compile(graph, tuple(arguments), options=options)
    files = [Path(file) for file in files]
    (page,) = (file for file in files if file.name.endswith(".wrapper.cpp"))
    (flags,) = (file for file in files if file.name.endswith("_linker_flags.json"))
    return page.read_text(), json.loads(flags.read_text())


def on_step_h(page: str, constants: Mapping[str, torch.Tensor]) -> str:
    """The kernels and the function of a page, and the constants they ask for, on tensor_runtime.h.

    Raises:
        Unknown: it asks for more, or is not written as we know it.

    """
    _, *rest = page.split(KERNELS)
    if len(rest) != 1 or OWN not in rest[0] or FUNCTION not in rest[0]:
        raise Unknown("another kind of page")
    kernels, own = rest[0].split(OWN, 1)
    about, function = own.split(FUNCTION, 1)
    runtime = RUNTIME.read_text()
    asked = set(NAMES.findall(function.partition(PREFIX)[0]))
    if more := asked - set(NAMES.findall(runtime)):
        raise Unknown(sorted(more)[0])
    named = CONSTANT.findall(about)
    if [int(index) for index, _ in named] != list(range(len(named))):
        raise Unknown("constants in another order")
    held = [constants[name] for _, name in named]
    return (
        f"{PREFIX}{runtime}{kernels}namespace torch::aot_inductor {{\n"
        f"{written_out(held)}{FUNCTION}{function}"
    )


def constants_of(graph: torch.fx.GraphModule) -> dict[str, torch.Tensor]:
    """Tensors that the function knows, by name."""
    named = {k: v for k, v in vars(graph).items() if isinstance(v, torch.Tensor)}
    return named | dict(graph.named_buffers()) | dict(graph.named_parameters())


def written_out(constants: Sequence[torch.Tensor]) -> str:
    """Constants as C++, byte for byte.

    Raises:
        Unknown: one is of a type that tensor_runtime.h does not know, or lies in another way than row by row.

    """
    lines, tensors = [], []
    for i, constant in enumerate(constants):
        if constant.dtype not in (torch.float32, torch.int64) or not constant.is_contiguous():
            raise Unknown(f"{constant.dtype} {constant.stride()}")
        there = constant.detach().cpu()
        words = ", ".join(map(str, there.reshape(-1).view(torch.int32).tolist()))
        sizes, strides = (", ".join(map(str, (*x, 0))) for x in (there.shape, there.stride()))
        lines += [
            f"alignas(64) static int32_t numbers_{i}[] = {{{words}}};",
            f"static const int64_t sizes_{i}[] = {{{sizes}}}, strides_{i}[] = {{{strides}}};",
        ]
        place = f"numbers_{i}, {there.dim()}, sizes_{i}, strides_{i}, {there.element_size()}"
        tensors.append(f"Tensor{{{place}, nullptr}}")
    listed = ", ".join(tensors or ["Tensor{}"])
    return "\n".join([*lines, f"RAIIAtenTensorHandle constants[] = {{{listed}}};\n"])


def compile_page(source: str, flags: dict[str, Any], scratch: Path, path: Path) -> None:
    """Write the library of a source.

    Raises:
        Unknown: the compiler does not take it, or it asks for a function that is nowhere.
        RuntimeError: the compiler was killed, or could not write.

    """
    file = scratch / "step.cpp"
    file.write_text(source)
    command = [
        find_compiler(), str(file), "-w", "-Wl,-Bsymbolic,-z,now,--no-as-needed", "-o", str(path),
        *(f"-D{name.strip()}" for name in flags["definitions"]),
        *(f"-I{folder}" for folder in flags["include_dirs"]),
        *(f"-{flag}" for flag in flags["cflags"] if flag not in NEEDLESS),
        *" ".join(flags["passthrough_args"]).split(),
        *(f"-L{folder}" for folder in flags["libraries_dirs"]),
        *(f"-l{library}" for library in flags["libraries"]),
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if made.returncode:
        kind = RuntimeError if "fatal error" in made.stderr else Unknown
        lines = (made.stderr.strip() or "silently").splitlines()
        raise kind(next((line for line in lines if "error:" in line), lines[-1]))
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        raise Unknown(str(error)) from error


def torchs_own(
    graph: torch.fx.GraphModule, arguments: Sequence[torch.Tensor], scratch: Path, path: Path
) -> None:
    """Write the library that torch makes, with its own runtime and tensors.

    Raises:
        RuntimeError: an operation exists in Python alone.

    """
    from torch._inductor import aot_compile

    inside = scratch / "step.so"
    options = OPTIONS | {"aot_inductor.output_path": str(inside), "cpp.vec_isa_ok": None}
    aot_compile(graph, tuple(arguments), options=options)
    library = inside.read_bytes()
    if PROXY in library:
        raise RuntimeError("an operation of it exists in Python alone")
    path.write_bytes(library)
