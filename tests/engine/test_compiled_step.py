"""K runs of a compiled step in one call equal K calls."""

import gc
import weakref

import numpy as np
import pytest
import torch

from rl_cli.core.types import Rows
from rl_cli.engine import build_cache, compiled_step
from rl_cli.engine import compiler as compiler_module
from tests.conftest import FULL
from tests.engine.test_compiler import compiler, inputs, make, needs_compiler

pytestmark = needs_compiler


def learners(name, notes):
    """In the tests' shared cache: compiled in the first run of the tests only."""
    both = make(name).learner, make(name).learner
    for learner in both:
        learner.compile_with(compiler(notes, f"{compiler_module.source_digest()} repeated {name}"))
    return both


def rows(name, batches):
    given, *rest = inputs(name)
    return given.table, torch.randint(50, (batches, 16)), rest


@pytest.mark.parametrize("name", ["dqn", "ppo"] if FULL else ["dqn"])
def test_k_runs_in_one_call_equal_k_calls(name, monkeypatch):
    """To the bit; also in chunks of two runs, the last of one."""
    notes: list[str] = []
    together, singly = learners(name, notes)
    table, positions, rest = rows(name, 5)
    for chunk in (compiled_step.AT_ONCE, 2):
        monkeypatch.setattr(compiled_step, "AT_ONCE", chunk)
        found = together.update(Rows(table, positions), *rest, learning_rate=1e-2)
        expected = [
            singly.update(Rows(table, positions[k : k + 1]), *rest, learning_rate=1e-2)
            for k in range(5)
        ]
        assert together.is_compiled, notes
        for key, values in found.items():
            assert np.array_equal(values, np.concatenate([metrics[key] for metrics in expected]))
    for kept in ("flat", "first_moment", "second_moment"):
        assert torch.equal(getattr(together, kept), getattr(singly, kept))
    assert not torch.equal(together.flat, make(name).learner.flat)


def test_step_reads_new_tables_and_releases_old_ones():
    learner, plain = learners("ppo", [])
    plain.compile_with(None)
    seen = []
    for seed in range(3):
        given, *rest = inputs("ppo", seed)
        seen.append(weakref.ref(given.table.obs))
        found = learner.update(given, *rest, learning_rate=1e-3)
        expected = plain.update(given, *rest, learning_rate=1e-3)
        torch.testing.assert_close(
            torch.as_tensor(found["loss"]), expected["loss"], rtol=1e-3, atol=1e-5
        )
    del given
    gc.collect()
    assert [ref() is None for ref in seen] == [True, True, False]  # the handles refer to the last


def test_other_files_and_libraries_are_refused(tmp_path):
    one = torch.zeros(1)
    (tmp_path / "junk.so").write_text("junk")
    with pytest.raises(OSError, match="junk"):
        compiled_step.CompiledStep(tmp_path / "junk.so", [one], [one], [0])
    build_cache.load(compiled_step.SOURCE)
    library = next(build_cache.cache_folder().glob("compiled_step_*.so"))
    with pytest.raises(RuntimeError, match="lacks a function"):
        compiled_step.CompiledStep(library, [one], [one], [0])
    with pytest.raises(RuntimeError, match="more than 64"):
        compiled_step.CompiledStep(tmp_path / "junk.so", [one] * 65, [one], [0])
