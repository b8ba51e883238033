"""A replay buffer with normalized observations stores raw ones and normalizes what it samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rl_cli.training import build
from tests.collectors.loop import Loop, assert_same_bits
from tests.conftest import FULL
from tests.engine.test_compiler import needs_compiler

RAW = {"normalize_obs": True, "raw": True}
CHANGES = [{}, {"n_step": 3}, {"bootstrap": "sarsa"}, {"replay": "proportional"}]


def loop(native, changes, compiled=False):
    return Loop("dqn", "CartPole-v1", native, changes=changes, compiled=compiled, **RAW)


@pytest.mark.parametrize("changes", CHANGES)
def test_rows_are_raw_and_batches_use_the_statistics_of_now(changes):
    run = loop(False, changes).run(400)
    buffer, normalizer = run.algo.buffer, run.envs.obs_normalizer
    raw = buffer.columns.arrays.obs[: buffer.size]
    assert np.abs(raw[:, 0]).max() < 2.4  # CartPole ends beyond
    for _ in range(2):
        rows = buffer.sample(16, np.random.default_rng(0))
        batch = rows.gather(torch.device("cpu"))
        for name in ("obs", "next_obs"):
            stored = getattr(buffer.columns.arrays, name)[rows.positions[0].numpy()]
            assert np.array_equal(getattr(batch, name).numpy(), normalizer(stored))
        normalizer.observe(np.full((1000, 4), 3.0))  # then other inputs come of the same rows
    assert np.array_equal(buffer.columns.arrays.obs[: buffer.size], raw)


@pytest.mark.parametrize("changes", CHANGES if FULL else CHANGES[:2])
@pytest.mark.parametrize(
    "compiled", [pytest.param(True, marks=needs_compiler), False] if FULL else [False]
)
@needs_compiler
def test_collectors_give_the_same_bits_and_resume_continues_them(changes, compiled):
    eager, native = (loop(on, changes, compiled).run(500) for on in (False, True))
    resumed = loop(True, changes, compiled).run(250).resumed().run(500)
    assert_same_bits(eager.state(), native.state())
    assert_same_bits(eager.state()["algo"], resumed.state()["algo"])
    assert eager.algo.buffer.state_dict()["raw"] is True


def test_a_run_of_an_earlier_version_continues_with_normalized_rows():
    class Saved:
        state = {"algo": {"buffer": {"position": 3}}}  # noqa: RUF012

    assert build.holds_normalized(Saved)
    Saved.state = {"algo": {"buffer": {"position": 3, "raw": True}}}
    assert not build.holds_normalized(Saved)
    assert not build.holds_normalized(None)


def test_on_policy_algorithms_learn_from_what_they_acted_on():
    run = Loop("ppo", "CartPole-v1", False, **RAW).run(40)
    assert not run.envs.reports_raw
    assert np.abs(run.algo.buffer.columns.arrays.obs[:40]).max() > 2.4
