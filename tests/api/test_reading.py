"""Evaluating, loading and reading runs from Python."""

from __future__ import annotations

import base64
import json
import shutil

import gymnasium as gym
import numpy as np
import pytest

import rl_cli
from rl_cli.cli import evaluate as rl_eval
from tests.conftest import REPO

GOLDEN = REPO / "tests/golden/format_4"


def test_evaluation_has_the_results_of_the_command_and_prints_nothing(here, capfd):
    shutil.copytree(GOLDEN / "ppo", here / "run")
    assert (
        rl_eval.run(
            ["run", "episodes=3", "env.max_episode_steps=20", "output=command", "display=none"]
        )
        == 0
    )
    found = rl_cli.evaluate("run", episodes=3, env={"max_episode_steps": 20}, video=True)
    recorded = json.loads((here / "command/evaluation.json").read_text())
    assert found.returns.tolist() == [e["return"] for e in recorded["episodes"]]
    assert found.lengths.tolist() == [e["length"] for e in recorded["episodes"]]
    assert found.summary._asdict() == recorded["summary"]
    assert (found.step, found.checkpoint.name) == (recorded["step"], f"{recorded['step']:09d}")
    assert (here / found.folder / "evaluation.json").is_file()
    assert capfd.readouterr() == ("", "")
    (path,) = found.videos
    html = rl_cli.Video(here / path)._repr_html_()
    assert base64.b64decode(html.split("base64,")[1].split('"')[0]) == (here / path).read_bytes()


def test_loaded_agent_acts_without_a_trace_in_the_process(here):
    shutil.copytree(GOLDEN / "dqn", here / "runs/dqn/cartpole/20261126-1200")
    state = np.random.get_state(legacy=True)[1].tolist()  # noqa: NPY002
    agents = [rl_cli.load("20261126-12", which) for which in ("best", 4000, "latest")]
    assert np.random.get_state(legacy=True)[1].tolist() == state  # noqa: NPY002
    assert [agent.manifest.step for agent in agents[1:]] == [4000, 4000]
    obs, _ = gym.make("CartPole-v1").reset(seed=0)
    assert agents[1].act(obs) == agents[2].act(obs)
    assert agents[1].act(obs) in (0, 1)


@pytest.mark.parametrize("call", [rl_cli.load, rl_cli.evaluate, rl_cli.read])
def test_what_is_no_run_is_refused(here, call):
    with pytest.raises(rl_cli.BadInput):
        call("nowhere")
    (here / "empty").mkdir()
    with pytest.raises(rl_cli.BadInput):
        call(here / "empty")


def test_tables_are_arrays(here):
    shutil.copytree(GOLDEN / "dqn", here / "run")
    (here / "run/metrics.csv").write_text("step,rollout/episodes,train/loss\n10,1,\n20,3,0.5\n30,")
    (here / "run/eval.csv").write_text(
        "step,episode,seed,episode_return,episode_length\n5,0,7,1.0,3\n5,1,8,2.0,4\n9,0,7,4.0,6\n"
    )
    run = rl_cli.read("run")
    assert {
        name: (column.dtype.kind, column.tolist()) for name, column in run.evaluations.items()
    } == {
        "step": ("i", [5, 5, 9]),
        "episode": ("i", [0, 1, 0]),
        "seed": ("i", [7, 8, 7]),
        "episode_return": ("f", [1.0, 2.0, 4.0]),
        "episode_length": ("i", [3, 4, 6]),
    }
    assert [part.tolist() for part in run.returns()] == [[5, 9], [1.5, 4.0]]
    assert run.metrics.rows == 2  # the last line is incomplete
    assert np.isnan(run.metrics["train/loss"][0])
    assert [part.tolist() for part in run.metrics.where("train/loss")] == [[20], [0.5]]
    assert run.config["algo"]["name"] == "dqn"
    assert (run.status, run.videos) == ({}, ())
    (here / "run/metrics.csv").write_text("step,loss\n1,text\n")
    with pytest.raises(rl_cli.BadInput, match="cannot be read"):
        rl_cli.read("run")


def test_table_as_a_frame_of_pandas(here):
    pandas = pytest.importorskip("pandas")
    table = rl_cli.Table({"step": np.array([1, 2]), "loss": np.array([np.nan, 2.0])})
    expected = pandas.DataFrame({"step": [1, 2], "loss": [np.nan, 2.0]})
    pandas.testing.assert_frame_equal(table.frame(), expected)
    assert "<table" in table._repr_html_()


def test_each_name_of_the_package_is_there():
    assert {getattr(rl_cli, name).__name__ for name in rl_cli.__all__} == set(rl_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        rl_cli.trian  # noqa: B018
