"""`Learner.infer`, plain and compiled."""

import pytest
import torch

from rl_cli.core.types import Batch
from rl_cli.engine import compiler as compiler_module
from tests.algos.test_algorithms import filled, ppo
from tests.engine.test_compiler import compiler, make, needs_compiler


def rollout(rows):
    """(rows, 1, ...) of random steps."""
    g = torch.Generator().manual_seed(rows)
    obs, next_obs = torch.randn(2, rows, 1, 5, generator=g)
    action, zeros = torch.randn(rows, 1, 2, generator=g), torch.zeros(rows, 1)
    return Batch(obs, action, zeros, next_obs, zeros, zeros)


@needs_compiler
def test_compiled_infer_equals_plain_infer_after_parameters_change():
    """In the tests' shared cache: compiled in the first run of the tests only."""
    notes, algo = [], make("ppo")
    plain = make("ppo")
    algo.learner.compile_with(compiler(notes, f"{compiler_module.source_digest()} infer"))
    for _ in range(3):
        found = algo.policy.evaluate(rollout(20), same_shape=True)
        expected = plain.policy.evaluate(rollout(20), same_shape=True)
        assert algo.learner.is_compiled, notes
        for one, other in zip(found, expected, strict=True):
            assert one.shape == (20, 1)
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            algo.learner.flat.mul_(1.3)
            plain.learner.flat.mul_(1.3)
    assert len(algo.learner._compilation.functions) == 1


def test_infer_compiles_repeated_calls_only():
    algo, compiled = make("ppo"), []
    algo.learner.compile_with(lambda *what: compiled.append(what))
    algo.policy.evaluate(rollout(7), same_shape=False)
    assert not compiled
    algo.policy.evaluate(rollout(7), same_shape=True)
    assert len(compiled) == 1


def test_each_row_is_evaluated_independently():
    """log pi, V(s) and V(s') of a row do not depend on the other rows."""
    algo = make("ppo")
    batch = rollout(6)
    together = algo.policy.evaluate(batch, same_shape=True)
    for t in range(6):
        row = Batch(*(field[t : t + 1] for field in batch))
        alone = algo.policy.evaluate(row, same_shape=True)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[t : t + 1], other)


@pytest.mark.parametrize("episodes", [None, 2])
def test_only_rollouts_of_fixed_length_are_compiled(episodes):
    length = 64 if episodes is None else None
    algo, seen = ppo(rollout_length=length, rollout_episodes=episodes), []
    infer = algo.learner.infer
    algo.learner.infer = lambda *a, repeated: seen.append(repeated) or infer(*a, repeated=repeated)
    filled(algo).update(64)
    assert seen == [episodes is None]
