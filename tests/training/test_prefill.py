"""`algo.prefill`: recorded transitions in the replay buffer."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import safetensors.numpy

from rl_cli.cli import train as rl_train
from rl_cli.core.types import ActionSpec, EnvSpec
from rl_cli.envs.make import make_env
from rl_cli.envs.normalization import RewardNormalizer
from rl_cli.envs.spaces import spec_of
from rl_cli.storage import checkpoint_reader, manifest, transition_file
from tests.algos.test_algorithms import env_config

TINY = [
    *("algo=dqn", "hparams=none", "env=cartpole", "total_timesteps=60", "eval.every=0"),
    *("eval.episodes=1", "checkpoint.every=20", "log.tensorboard=false", "video.episodes=0"),
    *("algo.learning_starts=5", "algo.batch_size=8", "algo.buffer_size=200", "compile=false"),
    *("quiet=true",),
]


def write(path, **changes):
    """Write ten transitions of CartPole, with rewards 0 to 9, to a file. -> the arrays."""
    rng = np.random.default_rng(0)
    arrays = {
        "obs": rng.normal(size=(10, 4)).astype(np.float32),
        "action": np.ones(10, np.int64),
        "reward": np.arange(10, dtype=np.float32),
        "next_obs": rng.normal(size=(10, 4)).astype(np.float32),
        "terminated": np.arange(10) == 9,
        "truncated": np.zeros(10, bool),
    }
    arrays = {k: v for k, v in (arrays | changes).items() if v is not None}
    path.write_bytes(safetensors.numpy.save(arrays))
    return arrays


def buffer_of(folder):
    path = checkpoint_reader.find(folder)
    state = checkpoint_reader.read_state(path, checkpoint_reader.read_manifest(path))
    return state["algo"]["buffer"]


@pytest.mark.parametrize("words", [[], ["env.normalize_reward=true"]], ids=["raw", "normalized"])
def test_prefilled_run_resumes_exactly_without_its_file(here, words):
    write(here / "t.safetensors")
    base = [*TINY, "algo.prefill=t.safetensors", *words]
    assert rl_train.run([*base, "run_dir=whole"]) == 0
    assert rl_train.run([*base, "run_dir=r", "total_timesteps=40"]) == 0
    (here / "t.safetensors").unlink()
    assert rl_train.run(["resume=r", "total_timesteps=60", "quiet=true"]) == 0
    a, b = buffer_of(here / "r"), buffer_of(here / "whole")
    assert a["size"] == b["size"] == 70
    for x, y in zip(a["rows"], b["rows"], strict=True):
        assert all(np.array_equal(x[name], y[name]) for name in x)
    weights = [
        (checkpoint_reader.find(here / n) / manifest.POLICY).read_bytes() for n in ("r", "whole")
    ]
    assert weights[0] == weights[1]
    assert "prefill: t.safetensors" in (here / "r/config.yaml").read_text()


def test_n_step_returns_of_prefilled_transitions_end_with_the_file(here):
    """Rewards 0 to 9, n = 3, gamma = 0.5: r + r' / 2 + r'' / 4, with fewer terms at the end."""
    write(here / "t.safetensors")
    args = ["algo.n_step=3", "algo.gamma=0.5", "env.num_envs=2", "algo.prefill=t.safetensors"]
    assert rl_train.run([*TINY, *args, "run_dir=r"]) == 0
    rewards = buffer_of(here / "r")["rows"][0]["reward"][:10]
    assert rewards[:8].tolist() == [k + (k + 1) / 2 + (k + 2) / 4 for k in range(8)]
    assert rewards[8:].tolist() == [8 + 9 / 2, 9.0]


def test_prefilled_rewards_are_normalized_with_those_of_the_run(here):
    rows = write(here / "t.safetensors")
    args = ["env.normalize_reward=true", "algo.gamma=0.5", "algo.prefill=t.safetensors"]
    assert rl_train.run([*TINY, *args, "run_dir=r"]) == 0
    normalizer, found = RewardNormalizer(1, 0.5, 10.0), buffer_of(here / "r")["rows"][0]
    done = (found["terminated"] + found["truncated"])[:70] > 0
    rewards = np.concatenate([rows["reward"], np.ones(60, np.float32)])
    assert np.array_equal(found["reward"][:70], normalizer.recorded(rewards, done))


def test_prefill_larger_than_the_buffer_keeps_the_newest_transitions(here):
    write(here / "t.safetensors")
    args = ["algo.buffer_size=8", "total_timesteps=2", "algo.learning_starts=0"]
    assert rl_train.run([*TINY, *args, "run_dir=r", "algo.prefill=t.safetensors"]) == 0
    buffer = buffer_of(here / "r")
    assert buffer["size"] == 8
    assert sorted(buffer["rows"][0]["reward"].tolist()) == [1.0, 1.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": np.zeros((10, 2), np.float32)}, "obs is float32 (10, 2), not float32"),
        ({"obs": np.zeros((10, 4))}, "obs is float64"),
        ({"action": np.zeros((10, 1), np.float32)}, "action is float32"),
        ({"action": np.full(10, 2)}, "an action is not one of [2]"),
        ({"reward": np.full(10, np.nan, np.float32)}, "reward is not finite"),
        ({"reward": np.zeros(9, np.float32)}, "obs is float32 (10, 4)"),
        ({"truncated": None}, "it contains action, next_obs, obs, reward, terminated"),
        ({"more": np.zeros(1)}, "it contains action, more"),
        ({n: np.zeros((0, *s), k) for n, s, k in [("obs", (4,), "f4"), ("next_obs", (4,), "f4"),
          ("action", (), "i8"), ("reward", (), "f4"), ("terminated", (), "?"), ("truncated", (), "?")]},
         "obs is float32 (0, 4)"),
    ],
)  # fmt: skip
def test_transitions_that_do_not_fit_are_refused_before_a_folder_is_made(
    here, capsys, changes, message
):
    write(here / "t.safetensors", **changes)
    assert rl_train.run([*TINY, "run_dir=r", "algo.prefill=t.safetensors"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "algo.prefill=t.safetensors" in err
    assert len(err.splitlines()) == 3
    assert not (here / "r").exists()


class Malicious:
    def __reduce__(self):
        return (open, ("executed", "w"))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"obs": Malicious()}),
        b"",
        b"\xff" * 64,
        (1 << 40).to_bytes(8, "little") + b"{}",
        json.dumps({"obs": [0.0]}).encode(),
        (60).to_bytes(8, "little")
        + b'{"obs":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'.ljust(60)
        + b"\0\0",
    ],
)
def test_file_of_another_kind_is_refused_and_executes_no_code(here, capsys, data):
    (here / "t.safetensors").write_bytes(data)
    assert rl_train.run([*TINY, "algo.prefill=t.safetensors"]) == 2
    assert "not transitions of this env" in capsys.readouterr().err
    assert [p.name for p in here.iterdir()] == ["t.safetensors"]


def test_link_folder_and_missing_file_are_refused(here, capsys):
    write(here / "t.safetensors")
    (here / "link").symlink_to("t.safetensors")
    for name, message in (("link", "a link"), (".", "a folder"), ("none", "No such file")):
        assert rl_train.run([*TINY, f"algo.prefill={name}"]) == 2
        assert message in capsys.readouterr().err


def test_prefill_with_normalized_observations_is_refused(here, capsys):
    write(here / "t.safetensors")
    assert rl_train.run([*TINY, "env.normalize_obs=true", "algo.prefill=t.safetensors"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: recorded observations are not normalized")
    assert len(err.splitlines()) == 3


def test_written_transitions_are_read_back_unchanged(tmp_path):
    arrays = write(tmp_path / "a")
    cfg = env_config("CartPole-v1")
    spec = spec_of(make_env(cfg), cfg)
    rows = transition_file.read(tmp_path / "a", spec, "x")
    transition_file.write(tmp_path / "b", rows)
    again = transition_file.read(tmp_path / "b", spec, "x")
    assert all(np.array_equal(arrays[n], c) for n, c in again._asdict().items())


def test_last_transition_of_a_file_ends_an_episode(here):
    """Transitions that follow in the buffer belong to another episode."""
    write(here / "t.safetensors", terminated=np.zeros(10, bool))
    spec = EnvSpec((4,), "float32", ActionSpec("discrete", (), (2,)), 1)
    rows = transition_file.read(here / "t.safetensors", spec, "algo.prefill")
    assert rows.truncated.tolist() == [False] * 9 + [True]
