"""B13: a buffer larger than the available memory is refused before the first step, with the largest size that fits.

Short form: replay of vectors, rollout. Long form: also stacked frames and many environments.
"""

from __future__ import annotations

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
from tests.bars.results import report
from tests.conftest import FULL

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


def test_run_that_does_not_fit_is_refused_before_it_starts(here, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rl-train"])
    for args, key in TOO_LARGE:
        code = rl_train.run(["env=cartpole", "hparams=none", "total_timesteps=1e13", *args])
        err = capsys.readouterr().err
        assert code == 2, err
        fits = re.search(rf"the largest that fits: {key}=([\d_]+)", err)
        assert fits, err
        assert int(fits[1]) > 10_000
        assert "GB of memory" in err
        assert not any(here.iterdir())
    report(13, len(TOO_LARGE), len(TOO_LARGE), "runs refused")


@pytest.mark.parametrize("kind", [ReplayBuffer, RolloutBuffer])
def test_named_size_fits_and_one_more_row_does_not(monkeypatch, kind):
    monkeypatch.setattr(memory, "limit", lambda: memory.RESERVE + 1_000_000)
    env = spec(num_envs=2 if kind is RolloutBuffer else 1)
    fits = 1_000_000 // (row_bytes(env) * env.num_envs)
    kind(fits, env, CPU)
    with pytest.raises(BadInput, match=r"0\.0 GB are available") as caught:
        kind(fits + 1, env, CPU)
    assert caught.value.fix.endswith(f"={fits:_}")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (spec(), 2 * 8 * 4 + 8 + 12),
        (spec((84, 84, 4), "uint8"), 2 * 84 * 84 * 4 + 8 + 12),
        (EnvSpec((3,), "float32", ActionSpec("box", (2,)), 5), 2 * 3 * 4 + 2 * 4 + 12),
    ],
)
def test_row_bytes_is_the_size_of_the_arrays(env, expected):
    assert row_bytes(env) == expected
    arrays = ReplayBuffer(10, env, CPU).columns.arrays
    assert sum(array.nbytes for array in arrays) == 10 * expected


def write_files(root, **contents):
    """Files below `root`; in their names `__` means `/` and `_DOT_` a dot."""
    for path, text in contents.items():
        place = root / path.replace("__", "/").replace("_DOT_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


def test_limits_of_control_groups_apply(tmp_path):
    """Of the group and its parents, in cgroup versions 1 and 2; "max" and missing files are no limit."""
    none = write_files(tmp_path / "none", proc__self__cgroup="0::/\n")
    assert memory.limit(none) == min(memory.physical(), memory.limit(tmp_path))
    unified = write_files(
        tmp_path / "v2",
        proc__self__cgroup="0::/jobs/night\n",
        sys__fs__cgroup__jobs__memory_DOT_max=f"{GIGABYTE}\n",
        sys__fs__cgroup__jobs__night__memory_DOT_max="max\n",
    )
    assert memory.limit(unified) == GIGABYTE
    first = write_files(
        tmp_path / "v1",
        proc__self__cgroup="5:cpu:/\n4:memory:/docker/1\n",
        sys__fs__cgroup__memory__docker__1__memory_DOT_limit_in_bytes=f"{2 * GIGABYTE}\n",
    )
    assert memory.limit(first) == 2 * GIGABYTE


def test_concurrent_runs_share_the_memory(here, tiny, monkeypatch, capfd):
    """1000 rows fit two concurrent runs each; 1001 fit one run at a time."""
    monkeypatch.setattr(memory, "physical", lambda: 2 * (memory.RESERVE + 1_000 * row_bytes(CART)))
    monkeypatch.setattr(memory, "_of_groups", lambda root: [])
    args = ["-m", "algo=dqn", "env=cartpole", "hparams=none", *tiny, "seed=0,1"]
    big = "algo.buffer_size=1001"
    ends = {
        "refused": rl_train.run([*args, big, "jobs=2", "hydra.sweep.dir=refused"]),
        "one at a time": rl_train.run([*args, big, "jobs=1", "hydra.sweep.dir=after"]),
        "small": rl_train.run([*args, "algo.buffer_size=1000", "jobs=5", "hydra.sweep.dir=small"]),
    }
    assert {how: code == 0 for how, code in ends.items()} == {
        "refused": False,
        "one at a time": True,
        "small": True,
    }
    err = capfd.readouterr().err
    assert err.count("0.0 GB are available to each of 2 concurrent runs") == 2
    assert err.count("the largest that fits: algo.buffer_size=1_000") == 2


def test_limit_of_the_process_is_not_shared(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_side_by_side", 1)
    monkeypatch.setattr(memory, "physical", lambda: 6 * GIGABYTE)
    memory.share_among(2)
    assert memory.limit(tmp_path) == 3 * GIGABYTE
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (GIGABYTE, GIGABYTE))
    assert memory.limit(tmp_path) == GIGABYTE


def test_limit_of_the_process_applies(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (GIGABYTE, GIGABYTE))
    assert memory.limit(tmp_path) == GIGABYTE


def test_networks_larger_than_memory_are_refused(here, tiny, monkeypatch, capsys):
    """Layers 4-100-2 have 702 parameters, each with its gradient and two moments: 16 bytes, 11,232 in total."""
    args = ["algo=dqn", "env=cartpole", "hparams=none", "algo.hidden_sizes=[100]", *tiny]
    monkeypatch.setattr("rl_cli.algos.factory.memory.limit", lambda: 11_231)
    monkeypatch.setattr("rl_cli.buffers.replay.memory.require", lambda *args: None)
    assert rl_train.run(args) == 2
    err = capsys.readouterr().err
    assert "networks of 702 parameters" in err
    assert "algo=dqn algo.hidden_sizes=[100]" in err
    monkeypatch.setattr("rl_cli.algos.factory.memory.limit", lambda: 11_232)
    assert rl_train.run(args) == 0
