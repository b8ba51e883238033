"""The source that Inductor writes is compiled with tensor_runtime.h; tensors and products of tensor_runtime.h."""

import ctypes
import gc
import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from rl_cli.engine import compiler as compiler_module
from rl_cli.engine import inductor
from rl_cli.engine.build_cache import find_compiler
from rl_cli.engine.compiled_step import CompiledStep, OwnRuntime, TorchRuntime
from tests.conftest import FULL
from tests.engine.test_compiler import compiler, inputs, make, needs_compiler

POINTER, LONG = ctypes.c_void_p, ctypes.c_int64
PAGE = """boilerplate
} // extern "C"
extern "C" void kernel();
CACHE_TORCH_DTYPE(float32);
    constants_info_[0].original_fqn = "_tensor_constant2";
    constants_info_[1].original_fqn = "_tensor_constant0";
void AOTInductorModel::run_impl(AtenTensorHandle* input_handles) {
    aoti_torch_cpu_mm_out(a, b, c);
}
#include <torch/csrc/inductor/cpp_prefix.h>
extern "C" void kernel() { aoti_torch_of_a_kernel(); }
"""


def long(*values):
    return (LONG * len(values))(*values)


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """A library with tensor_runtime.h alone, and functions that make handles of tensors."""
    library = tmp_path_factory.mktemp("probe") / "probe.so"
    torchs = Path(torch.__file__).parent / "lib"
    subprocess.run(
        [
            find_compiler(), "-O1", "-std=c++20", "-shared", "-fPIC", f"-I{inductor.RUNTIME.parent}",
            str(Path(__file__).with_name("runtime_probe.cpp")), "-o", str(library),
            f"-L{torchs}", "-ltorch_cpu",
        ],
        check=True,
    )  # fmt: skip
    model = ctypes.CDLL(str(library))
    for name in ("empty", "part", "moved", "memory"):
        getattr(model, f"probe_{name}").restype = POINTER
    return OwnRuntime(model), model


def matrix(rng, rows, columns, layout):
    """A random matrix: row-major, column-major, or part of a wider row-major one."""
    if layout == "columns":
        return torch.from_numpy(rng.normal(size=(columns, rows)).astype(np.float32)).t()
    wide = torch.from_numpy(rng.normal(size=(rows, columns + 3)).astype(np.float32))
    return wide[:, :columns] if layout == "part" else wide[:, :columns].contiguous()


@needs_compiler
@pytest.mark.parametrize("shape", [(5, 4, 3), (64, 8, 64), (1, 7, 6), (6, 7, 1), (3, 1, 4)])
def test_products_equal_numpy_in_every_layout(probe, shape):
    functions, library = probe
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    for layouts in itertools.product(("rows", "columns", "part"), repeat=3):
        a, b, out = (
            matrix(rng, *size, layout)
            for size, layout in zip(
                [(rows, inner), (inner, columns), (rows, columns)], layouts, strict=True
            )
        )
        bias = torch.from_numpy(rng.normal(size=columns).astype(np.float32))
        expected = a.numpy().astype(float) @ b.numpy().astype(float)
        handles = [POINTER(functions.handle(t)) for t in (out, a, b)]
        assert library.probe_mm(*handles) == 0
        np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5, atol=1e-5)
        beta = alpha = ctypes.c_double(1.0)
        by = POINTER(functions.handle(bias))
        assert library.probe_addmm(handles[0], by, *handles[1:], beta, alpha) == 0
        np.testing.assert_allclose(out.numpy(), expected + bias.numpy(), rtol=1e-5, atol=1e-5)
        half = ctypes.c_double(0.5)
        assert library.probe_addmm(handles[0], by, *handles[1:], half, alpha) == 1


@needs_compiler
def test_matrices_that_sgemm_cannot_read_are_refused(probe):
    """No dimension has stride 1, or rows overlap."""
    functions, library = probe
    good = torch.ones(4, 4)
    for bad in (torch.ones(8, 8)[::2, ::2], torch.ones(1, 4).expand(4, 4)):
        for place in range(3):
            tensors = [good.clone(), good, good]
            tensors[place] = bad
            handles = [POINTER(functions.handle(t)) for t in tensors]
            assert library.probe_mm(*handles) == 1


@needs_compiler
def test_addmm_broadcasts_bias_of_every_shape(probe):
    """A scalar, one entry per column, one per row, one per element."""
    functions, library = probe
    out, a, b = torch.empty(3, 2), torch.ones(3, 4), torch.ones(4, 2)
    one, whole = ctypes.c_double(1.0), torch.arange(6.0)
    for bias in (
        torch.tensor(2.0), torch.tensor([2.0]), torch.tensor([2.0, 3.0]), torch.tensor([[2.0, 3.0]]),
        torch.tensor([[1.0], [2.0], [3.0]]), whole.view(3, 2), whole.view(2, 3).t(),
    ):  # fmt: skip
        handles = [POINTER(functions.handle(t)) for t in (out, bias, a, b)]
        assert library.probe_addmm(*handles, one, one) == 0
        assert out.tolist() == (4.0 + bias.expand(3, 2)).tolist()


@needs_compiler
def test_memory_is_reused_after_its_last_view_is_released(probe):
    _, library = probe
    sizes, strides = long(3, 5), long(5, 1)

    def empty():
        return POINTER(library.probe_empty(LONG(2), sizes, strides))

    first = empty()
    place = library.probe_memory(first)
    assert place % 64 == 0
    row = POINTER(library.probe_part(first, LONG(1), long(5), long(1), LONG(10)))
    assert library.probe_memory(row) == place + 10 * 4
    library.probe_end(first)
    second = empty()
    assert library.probe_memory(second) != place  # a view of the first still exists
    library.probe_end(row)
    third = empty()
    assert library.probe_memory(third) == place
    heir = POINTER(library.probe_moved(third))
    library.probe_end(third)  # whose memory was moved away
    assert library.probe_memory(empty()) != place
    library.probe_end(heir)
    assert library.probe_memory(empty()) == place


def test_page_keeps_kernels_and_function():
    constants = {"_tensor_constant0": torch.tensor([7, -1]), "_tensor_constant2": torch.ones(2, 1)}
    source = inductor.with_own_runtime(PAGE, constants)
    assert "boilerplate" not in source
    assert "CACHE_TORCH" not in source
    assert source.startswith(
        inductor.PREFIX + inductor.RUNTIME.read_text() + 'extern "C" void kernel();'
    )
    assert source.endswith(PAGE[PAGE.index("void AOTInductorModel") :])
    lines = source.splitlines()
    one = np.float32(1).view(np.int32)  # in the order of the page, not of the names
    assert f"alignas(64) static int32_t numbers_0[] = {{{one}, {one}}};" in lines
    assert "alignas(64) static int32_t numbers_1[] = {7, 0, -1, -1};" in lines
    assert "static const int64_t sizes_0[] = {2, 1, 0}, strides_0[] = {1, 1, 0};" in lines


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (PAGE.replace("cpu_mm_out", "cpu_cholesky"), "aoti_torch_cpu_cholesky"),
        (PAGE.replace('} // extern "C"', "}"), "unknown page format"),
        (PAGE.replace("AOTInductorModel::run_impl", "Model::run"), "unknown page format"),
        (PAGE.replace("CACHE_TORCH", "CACHED"), "unknown page format"),
        (PAGE.replace("constants_info_[1]", "constants_info_[2]"), "unknown order of constants"),
    ],
)
def test_unknown_page_is_unsupported(page, why):
    with pytest.raises(inductor.Unsupported, match=why):
        inductor.with_own_runtime(
            page, {"_tensor_constant0": torch.ones(1), "_tensor_constant2": torch.ones(1)}
        )


@pytest.mark.parametrize("constant", [torch.ones(2, dtype=torch.float64), torch.ones(2, 3).t()])
def test_constants_of_other_types_are_unsupported(constant):
    with pytest.raises(inductor.Unsupported):
        inductor.constants_source([constant])


@needs_compiler
def test_products_of_integers_are_refused(probe):
    functions, library = probe
    whole = torch.ones(2, 2, dtype=torch.int64)
    handles = [POINTER(functions.handle(t)) for t in (torch.empty(2, 2), whole, whole)]
    assert library.probe_mm(*handles) == 1


def step_of(identity, notes=None, name="dqn", **changes):
    learner = make(name, **changes).learner
    learner.compile_with(compiler([] if notes is None else notes, identity))
    rows = inputs(name)
    learner.update(*(rows if isinstance(rows, tuple) else (rows,)), learning_rate=1e-3)
    (found,) = learner._compilation.functions.values()
    assert isinstance(found, CompiledStep), notes
    return found


@needs_compiler
@pytest.mark.skipif(not FULL, reason="a library of its own; set RL_CLI_BARS=full")
def test_steps_use_own_runtime():
    """In the tests' shared cache; the step with squashed actions has constant tensors."""
    identity = f"{compiler_module.source_digest()} tensor_runtime.h"
    assert isinstance(step_of(identity).runtime, OwnRuntime)
    squashed = step_of(identity, name="ppo", squash_actions=True)
    assert isinstance(squashed.runtime, OwnRuntime)


@needs_compiler
@pytest.mark.skipif(not FULL, reason="a build with torch's headers takes 20 s; long form")
def test_step_with_unknown_function_uses_torch_runtime(tmp_path, monkeypatch):
    """The function that is missing is removed from tensor_runtime.h for this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = inductor.RUNTIME.read_text().replace("aoti_torch_cpu_mm_out", "something_else")
    (tmp_path / "tensor_runtime.h").write_text(source)
    monkeypatch.setattr(inductor, "RUNTIME", tmp_path / "tensor_runtime.h")
    notes = []
    assert isinstance(step_of("torch's", notes).runtime, TorchRuntime)
    why = "the compiled step uses torch's runtime, which is slower: aoti_torch_cpu_mm_out"
    assert notes == [compiler_module.COMPILING, why]
    assert gc.isenabled()


FLAGS = {
    **dict.fromkeys(("definitions", "include_dirs", "passthrough_args", "libraries_dirs", "libraries"), ()),
    "cflags": ("shared", "fPIC"),
}  # fmt: skip


@needs_compiler
@pytest.mark.parametrize(
    "source",
    ["this is no C++", "void nowhere(); void here() { nowhere(); }"],
    ids=["not C++", "undefined function"],
)
def test_source_that_does_not_compile_or_load_is_built_with_torch(source, tmp_path, monkeypatch):
    built, notes = [], []
    monkeypatch.setattr(inductor, "generate", lambda *_: (PAGE, FLAGS))
    monkeypatch.setattr(inductor, "with_own_runtime", lambda *_: source)
    monkeypatch.setattr(inductor, "build_with_torch", lambda *arguments: built.append(arguments[2]))
    inductor.build(torch.fx.symbolic_trace(torch.nn.Identity()), (), tmp_path, 1, notes.append)
    assert built == [tmp_path / "step.so"]
    assert len(notes) == 1
    assert notes[0].startswith("the compiled step uses torch's runtime, which is slower: ")


@needs_compiler
def test_compiler_that_cannot_read_a_file_is_an_error(tmp_path, monkeypatch):
    """Else the slower library would stay in the cache."""
    monkeypatch.setattr(inductor, "generate", lambda *_: (PAGE, FLAGS))
    monkeypatch.setattr(inductor, "with_own_runtime", lambda *_: '#include "not_there.h"')
    monkeypatch.setattr(inductor, "build_with_torch", lambda *_: pytest.fail("built with torch"))
    with pytest.raises(RuntimeError, match=r"compilation terminated|not_there"):
        inductor.build(torch.fx.symbolic_trace(torch.nn.Identity()), (), tmp_path, 1, print)
