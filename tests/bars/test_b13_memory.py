"""B13: a buffer that memory cannot hold is refused before the first step, with the size that fits.

Quick: replay of vectors, rollout. Full (RL_CLI_BARS=full): of pixels and of many envs as well.
"""

from __future__ import annotations

import os
import re
import resource
import sys

import pytest
import torch

from rl_cli.buffers.columns import row_bytes
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.buffers.rollout import RolloutBuffer
from rl_cli.cli import train as rl_train
from rl_cli.core import memory
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, EnvSpec

FULL = os.environ.get("RL_CLI_BARS") == "full"
CPU = torch.device("cpu")
GIGABYTE = 10**9
CART = EnvSpec((4,), "float32", ActionSpec("discrete", (), (2,)), 1)


def spec(shape=(8,), dtype="float32", num_envs=1):
    return EnvSpec(shape, dtype, ActionSpec("discrete", (), (4,)), num_envs)


TOO_LARGE = [
    (["algo=dqn", "algo.buffer_size=2e9"], "algo.buffer_size"),
    (["algo=ppo", "algo.rollout_length=1e12"], "algo.rollout_length"),
    (["algo=ppo", "env.num_envs=64", "algo.rollout_length=1e11"], "algo.rollout_length"),
    (["algo=dqn", "env.frame_stack=64", "algo.buffer_size=1e9"], "algo.buffer_size"),
][: 4 if FULL else 2]


def test_a_run_that_would_not_fit_is_refused_before_it_begins(here, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rl-train"])
    for args, key in TOO_LARGE:
        code = rl_train.run(["env=cartpole", "hparams=none", "total_timesteps=1e13", *args])
        said = capsys.readouterr().err
        assert code == 2, said
        fits = re.search(rf"the largest that fits: {key}=([\d_]+)", said)
        assert fits, said
        assert int(fits[1]) > 10_000
        assert "GB of memory" in said
        assert not any(here.iterdir())
    print(f"B13 got/needed: {len(TOO_LARGE)}/{len(TOO_LARGE)} runs refused")


@pytest.mark.parametrize("kind", [ReplayBuffer, RolloutBuffer])
def test_the_size_that_is_named_fits_and_one_more_does_not(monkeypatch, kind):
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 1_000_000)
    some = spec(num_envs=2 if kind is RolloutBuffer else 1)
    fits = 1_000_000 // (row_bytes(some) * some.num_envs)
    kind(fits, some, CPU)
    with pytest.raises(BadInput, match=r"0\.0 GB are available") as caught:
        kind(fits + 1, some, CPU)
    assert caught.value.fix.endswith(f"={fits:_}")


@pytest.mark.parametrize(
    ("some", "bytes_of_a_row"),
    [
        (spec(), 2 * 8 * 4 + 8 + 12),
        (spec((84, 84, 4), "uint8"), 2 * 84 * 84 * 4 + 8 + 12),
        (EnvSpec((3,), "float32", ActionSpec("box", (2,)), 5), 2 * 3 * 4 + 2 * 4 + 12),
    ],
)
def test_the_size_is_that_of_the_arrays(some, bytes_of_a_row):
    assert row_bytes(some) == bytes_of_a_row
    arrays = ReplayBuffer(10, some, CPU).columns.arrays
    assert sum(array.nbytes for array in arrays) == 10 * bytes_of_a_row


def files(root, **contents):
    for path, text in contents.items():
        place = root / path.replace("__", "/").replace("_DOT_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


def test_the_limits_of_control_groups_count(tmp_path):
    """The group's own and those around it, of both versions; "max" and absent files do not."""
    none = files(tmp_path / "none", proc__self__cgroup="0::/\n")
    assert memory.limit(none) == min(memory.physical(), memory.limit(tmp_path))
    unified = files(
        tmp_path / "v2",
        proc__self__cgroup="0::/jobs/night\n",
        sys__fs__cgroup__jobs__memory_DOT_max=f"{GIGABYTE}\n",
        sys__fs__cgroup__jobs__night__memory_DOT_max="max\n",
    )
    assert memory.limit(unified) == GIGABYTE
    first = files(
        tmp_path / "v1",
        proc__self__cgroup="5:cpu:/\n4:memory:/docker/1\n",
        sys__fs__cgroup__memory__docker__1__memory_DOT_limit_in_bytes=f"{2 * GIGABYTE}\n",
    )
    assert memory.limit(first) == 2 * GIGABYTE


def test_runs_side_by_side_have_a_share_each(here, tiny, monkeypatch, capfd):
    """A thousand rows fit each of two; one run has room for the other's half as well."""
    monkeypatch.setattr(memory, "physical", lambda: 2 * (memory.RESERVE + 1_000 * row_bytes(CART)))
    monkeypatch.setattr(memory, "_of_groups", lambda root: [])
    args = ["-m", "algo=dqn", "env=cartpole", "hparams=none", *tiny, "seed=0,1"]
    big = "algo.buffer_size=1001"
    ends = {
        "refused": rl_train.run([*args, big, "jobs=2", "hydra.sweep.dir=refused"]),
        "after each other": rl_train.run([*args, big, "jobs=1", "hydra.sweep.dir=after"]),
        "small": rl_train.run([*args, "algo.buffer_size=1000", "jobs=5", "hydra.sweep.dir=small"]),
    }
    assert {how: code == 0 for how, code in ends.items()} == {
        "refused": False,
        "after each other": True,
        "small": True,
    }
    said = capfd.readouterr().err
    assert said.count("0.0 GB are available to each of 2 concurrent runs") == 2
    assert said.count("the largest that fits: algo.buffer_size=1_000") == 2


def test_the_limit_of_the_process_is_not_shared(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_side_by_side", 1)
    monkeypatch.setattr(memory, "physical", lambda: 6 * GIGABYTE)
    memory.share_among(2)
    assert memory.limit(tmp_path) == 3 * GIGABYTE
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (GIGABYTE, GIGABYTE))
    assert memory.limit(tmp_path) == GIGABYTE


def test_the_limit_of_the_process_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (GIGABYTE, GIGABYTE))
    assert memory.limit(tmp_path) == GIGABYTE


def test_networks_beyond_memory_are_refused_before_they_are_made(here, tiny, monkeypatch, capsys):
    """4 inputs, 100, 2 outputs: 702 numbers, each with gradient and moments: 16 bytes, 11,232."""
    args = ["algo=dqn", "env=cartpole", "hparams=none", "algo.hidden_sizes=[100]", *tiny]
    monkeypatch.setattr("rl_cli.algos.factory.memory.limit", lambda: 11_231)
    monkeypatch.setattr("rl_cli.buffers.replay.memory.require", lambda *args: None)
    assert rl_train.run(args) == 2
    told = capsys.readouterr().err
    assert "networks of 702 numbers" in told
    assert "algo=dqn algo.hidden_sizes=[100]" in told
    monkeypatch.setattr("rl_cli.algos.factory.memory.limit", lambda: 11_232)
    assert rl_train.run(args) == 0
