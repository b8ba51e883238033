"""What a compiled step is told of tensors without torch: shapes, products in every layout, memory."""

import ctypes
import itertools

import numpy as np
import pytest
import torch
from test_compiled import compiler, inputs, make, needs_compiler

from rl_cli import compiled
from rl_cli.repeat import Repeated

pytestmark = needs_compiler
POINTER = ctypes.c_void_p


@pytest.fixture(scope="module")
def functions():
    """Those of a step in the tests' own cache, which is kept."""
    return step_of(f"{compiled.source_digest()} tensors").functions


def step_of(identity, notes=None):
    learner = make("dqn").learner
    learner.compiler = compiler([] if notes is None else notes, identity)
    learner.step(*inputs("dqn"), learning_rate=1e-3)
    (found,) = learner.compiled.values()
    assert isinstance(found, Repeated), notes
    return found


def laid_out(rng, rows, columns, layout):
    """Random numbers as a matrix by rows, by columns, or part of a wider one."""
    if layout == "columns":
        return torch.from_numpy(rng.normal(size=(columns, rows)).astype(np.float32)).t()
    wide = torch.from_numpy(rng.normal(size=(rows, columns + 3)).astype(np.float32))
    return wide[:, :columns] if layout == "part" else wide[:, :columns].contiguous()


@pytest.mark.parametrize("shape", [(5, 4, 3), (64, 8, 64), (1, 7, 6), (6, 7, 1), (3, 1, 4)])
def test_products_are_numpys_in_every_layout(functions, shape):
    rows, inner, columns = shape
    rng, library = np.random.default_rng(0), functions.model
    for layouts in itertools.product(("rows", "columns", "part"), repeat=3):
        a, b, out = (
            laid_out(rng, *size, layout)
            for size, layout in zip(
                [(rows, inner), (inner, columns), (rows, columns)], layouts, strict=True
            )
        )
        bias = torch.from_numpy(rng.normal(size=columns).astype(np.float32))
        expected = a.numpy().astype(float) @ b.numpy().astype(float)
        handles = [POINTER(functions.handle(t)) for t in (out, a, b)]
        assert library.aoti_torch_cpu_mm_out(*handles) == 0
        np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5, atol=1e-5)
        beta = alpha = ctypes.c_double(1.0)
        by = POINTER(functions.handle(bias))
        assert library.aoti_torch_cpu_addmm_out(handles[0], by, *handles[1:], beta, alpha) == 0
        np.testing.assert_allclose(out.numpy(), expected + bias.numpy(), rtol=1e-5, atol=1e-5)
        half = ctypes.c_double(0.5)
        assert library.aoti_torch_cpu_addmm_out(handles[0], by, *handles[1:], half, alpha) == 1


def test_what_no_product_can_read_is_refused(functions):
    """Neither a row's nor a column's numbers are neighbours, or rows lie on top of each other."""
    good, library = torch.ones(4, 4), functions.model
    for bad in (torch.ones(8, 8)[::2, ::2], torch.ones(1, 4).expand(4, 4)):
        for place in range(3):
            tensors = [good.clone(), good, good]
            tensors[place] = bad
            handles = [POINTER(functions.handle(t)) for t in tensors]
            assert library.aoti_torch_cpu_mm_out(*handles) == 1


def test_biases_of_one_number_and_of_one_row(functions):
    out, a, b = torch.empty(3, 2), torch.ones(3, 4), torch.ones(4, 2)
    one = ctypes.c_double(1.0)
    for bias in (torch.tensor([2.0, 3.0]), torch.tensor([[2.0, 3.0]]), torch.tensor([2.0])):
        handles = [POINTER(functions.handle(t)) for t in (out, bias, a, b)]
        assert functions.model.aoti_torch_cpu_addmm_out(*handles, one, one) == 0
        assert out.tolist() == (4.0 + bias.expand(3, 2)).tolist()


def test_memory_is_used_again_when_its_last_view_is_gone(functions):
    library, made, seen = functions.model, POINTER(), POINTER()
    sizes, strides = (ctypes.c_int64 * 2)(3, 5), (ctypes.c_int64 * 2)(5, 1)

    def empty():
        handle, data = POINTER(), POINTER()
        asked = (ctypes.c_int64(2), sizes, strides, 6, 0, 0)
        assert library.aoti_torch_empty_strided(*asked, ctypes.byref(handle)) == 0
        assert library.aoti_torch_get_data_ptr(handle, ctypes.byref(data)) == 0
        return handle, data.value

    first, place = empty()
    row = (ctypes.c_int64 * 1)(5), (ctypes.c_int64 * 1)(1)
    view = (first, ctypes.c_int64(1), *row, ctypes.c_int64(10), ctypes.byref(made))
    assert library.aoti_torch__reinterpret_tensor(*view) == 0
    assert library.aoti_torch_get_data_ptr(made, ctypes.byref(seen)) == 0
    assert seen.value == place + 10 * 4
    assert place % 64 == 0
    library.aoti_torch_delete_tensor_object(first)
    assert empty()[1] != place  # a view of it is still there
    library.aoti_torch_delete_tensor_object(made)
    assert empty()[1] == place


def test_a_step_that_asks_for_more_has_torchs_tensors(tmp_path, monkeypatch):
    """The same step, so to speak: what it does not know is left out of tensors.cpp."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = compiled.TENSORS.read_text().replace("aoti_torch_cpu_mm_out", "something_else")
    (tmp_path / "tensors.cpp").write_text(source)
    monkeypatch.setattr(compiled, "TENSORS", tmp_path / "tensors.cpp")
    notes = []
    other = step_of("torch's", notes)
    assert other.functions.own is None
    assert notes == [compiled.COMPILING]
    assert len(list((tmp_path / "rl-cli").glob("????????????????????????????????.so"))) == 1
    assert not list((tmp_path / "rl-cli").glob("*_step.so"))


def test_a_step_has_tensors_of_its_own(functions):
    assert functions.own is not None


def test_where_torchs_functions_are_known_to_all_they_are_used(tmp_path, monkeypatch):
    """The step would find them first, and be handed our tensors."""
    assert compiled.may_have_tensors()
    ours = compiled.way_of_building()
    monkeypatch.setattr(compiled, "may_have_tensors", lambda: False)
    assert compiled.way_of_building() != ours
    with pytest.raises(RuntimeError, match="found first"):
        compiled.without_torch(tmp_path / "step.so", tmp_path / "library.so")
