"""checkpoint.keep_buffer=false: a completed run is small, evaluated as before, and not continued."""

from __future__ import annotations

import json
import shutil

import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from rl_cli.core.errors import StorageError
from rl_cli.storage import policy_only, run_folder
from rl_cli.storage.checkpoint_reader import why_broken
from rl_cli.storage.manifest import folders_in


def train(*words):
    return rl_train.run(list(words))


@pytest.fixture
def words(tiny):
    shown = [word for word in tiny if word != "quiet=true"]
    return [
        *shown,
        "env=cartpole",
        "hparams=none",
        "algo=dqn",
        "algo.learning_starts=100",
        "algo.hidden_sizes=[8]",
    ]


def evaluation(run, here):
    assert rl_eval.run([run, "episodes=2", f"output={run}-eval"]) == 0
    return json.loads((here / f"{run}-eval/evaluation.json").read_text())["episodes"]


def test_completed_run_keeps_its_policies_and_refuses_to_continue(here, words, capfd):
    assert train(*words, "run_dir=whole") == 0
    assert train(*words, "run_dir=small", "checkpoint.keep_buffer=false") == 0
    assert evaluation("small", here) == evaluation("whole", here)
    capfd.readouterr()
    for display, first in (("none", None), ("plain", "episodes: 2"), ("live", "┌")):
        assert rl_eval.run(["small", "episodes=2", f"display={display}"]) == 0
        lines = capfd.readouterr().out.splitlines()
        assert lines[1].startswith(first) if first else lines == [], display
    assert run_folder.size_of(here / "small") < run_folder.size_of(here / "whole") / 2
    for checkpoint in folders_in(here / "small/checkpoints"):
        assert {path.name for path in checkpoint.iterdir()} == {
            "manifest.json",
            "policy.safetensors",
        }
        assert why_broken(checkpoint) is None
    whole = [(here / f"{run}/eval.csv").read_bytes() for run in ("whole", "small")]
    assert whole[0] == whole[1]
    capfd.readouterr()
    assert train("resume=small") == 0
    assert "longer:" not in capfd.readouterr().out
    before = sorted((here / "small").rglob("*"))
    assert train("resume=small", "total_timesteps=500") == 2
    err = capfd.readouterr().err
    assert "its replay buffer was dropped" in err
    assert "checkpoint.keep_buffer=false" in err
    assert len(err.splitlines()) == 3
    assert sorted((here / "small").rglob("*")) == before
    assert train("resume=whole", "total_timesteps=500") == 0


def test_run_without_a_replay_buffer_can_be_continued(here, words, capfd):
    words = [*words, "algo=ppo", "algo.rollout_length=64"]
    words = [word for word in words if "learning_starts" not in word and word != "algo=dqn"]
    assert train(*words, "run_dir=r", "checkpoint.keep_buffer=false") == 0
    assert train("resume=r", "total_timesteps=500") == 0


def test_checkpoint_that_cannot_be_rewritten_stays_as_it_is(here, words, monkeypatch):
    assert train(*words, "run_dir=r") == 0
    folder = here / "r/checkpoints"
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        policy_only.drop_buffers(folder)
    assert {p: p.read_bytes() for p in folder.rglob("*.*") if p.is_file()} == before


def test_size_counts_a_file_with_two_links_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one").write_bytes(b"x" * 1000)
    (tmp_path / "two").hardlink_to(tmp_path / "a/one")
    (tmp_path / "three").write_bytes(b"y" * 24)
    assert run_folder.size_of(tmp_path) == 1024
