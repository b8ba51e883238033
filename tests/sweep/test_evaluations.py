"""rl-eval of several runs: which runs are meant, one table, one file, failures that take nothing else along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from rl_cli.core.errors import BadInput
from rl_cli.report import groups, summary, table
from rl_cli.sweep import evaluations
from tests.report.folders import write_run

SMALL = [
    *("algo=dqn", "env=cartpole", "hparams=none", "total_timesteps=100", "eval.every=0"),
    *("algo.learning_starts=50", "algo.batch_size=8", "eval.episodes=1", "log.tensorboard=false"),
    *("video.episodes=0", "quiet=true", "compile=false"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with three runs, of two groups."""
    folder = tmp_path_factory.mktemp("trained")
    for name, more in (("a0", []), ("a1", ["seed=1"]), ("b0", ["algo.gamma=0.9"])):
        assert rl_train.run([*SMALL, *more, f"run_dir={folder / name}"]) == 0
    return folder


@pytest.fixture
def runs(trained, here):
    """Copies of the runs below runs/, in the current folder."""
    shutil.copytree(trained, here / "runs" / "all")
    return here / "runs" / "all"


def saved(here):
    (path,) = here.glob("runs/evals/*/evaluations.json")
    return path, json.loads(path.read_text())


def test_several_runs_have_one_table_one_file_and_a_file_each(runs, here, capfd):
    assert rl_eval.run(["runs/all", "episodes=3", "seed=5", "jobs=2"]) == 0
    path, content = saved(here)
    assert [run["run"] for run in content["runs"]] == [f"runs/all/{n}" for n in ("a0", "a1", "b0")]
    for run in content["runs"]:
        alone = json.loads(
            (path.parent / run["run"].rpartition("/")[2] / "evaluation.json").read_text()
        )
        assert {"run": run["run"], **alone} == run
        assert [e["seed"] for e in alone["episodes"]] == [5, 6, 7]
    first, second = content["groups"]
    assert (first["settings"], first["seeds"]) == (
        {"algo.gamma": 0.99},
        [0, 1],
    )
    assert first["returns"] == [run["summary"]["mean"] for run in content["runs"][:2]]
    assert (
        second["improvement"]["value"]
        == sum(
            (second["returns"][0] > r) + (second["returns"][0] == r) / 2 for r in first["returns"]
        )
        / 2
    )
    text = capfd.readouterr().out
    assert "[3/3]" in text
    assert "IQM [95% interval]" in text
    assert "fewer than 5 runs have no interval" in text


def test_run_that_cannot_be_evaluated_is_named_and_the_others_are(runs, here, capfd):
    shutil.rmtree(runs / "a1" / "checkpoints")
    assert rl_eval.run(["runs/all/a0", "runs/all/a1", "episodes=2", "display=none"]) == 2
    _, content = saved(here)
    assert [run["run"] for run in content["runs"]] == ["runs/all/a0"]
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "a1: not evaluated" in printed.err
    assert "checkpoint" in printed.err


def test_pattern_has_the_same_file_if_it_matches_one_run(runs, here):
    assert rl_eval.run(["runs/all/b*", "episodes=2"]) == 0
    _, content = saved(here)
    assert [run["run"] for run in content["runs"]] == ["runs/all/b0"]


def test_paths_folders_patterns_and_sweeps_name_each_run_once(here):
    for name in ("ppo/cartpole/x", "ppo/cartpole/y", "dqn/cartpole/x"):
        write_run(here / "runs" / name, {100: 1.0})
    (here / "sweep").mkdir()
    (here / "sweep" / "job_0000.json").write_text(json.dumps({"run_dir": "runs/dqn/cartpole/x"}))
    both = ["runs/ppo/cartpole/x", "runs/ppo/cartpole/y"]
    assert evaluations.expand(["runs/ppo"]) == both
    assert evaluations.expand(["runs/*/cartpole/x"]) == ["runs/dqn/cartpole/x", both[0]]
    assert evaluations.expand([both[1], "runs/ppo", f"{both[1]}/"]) == [both[1], both[0]]
    assert evaluations.expand(["sweep"]) == ["runs/dqn/cartpole/x"]
    assert evaluations.expand(["nowhere"]) == ["nowhere"]
    with pytest.raises(BadInput, match="no path matches"):
        evaluations.expand(["runs/z*"])


def test_each_run_has_a_folder_of_its_own(tmp_path):
    runs = [str(tmp_path / name) for name in ("p/run", "p/run_2", "q/run", "q/run_1", "r/run")]
    places = evaluations._places(runs, tmp_path / "out")
    assert list(places) == runs
    assert len(set(places.values())) == len(runs)


def test_checkpoints_of_one_run_are_compared(here, capfd):
    """Each that is named is a group; runs that are named as such keep theirs."""
    for seed in (0, 1):
        assert (
            rl_train.run([*SMALL, "checkpoint.every=50", f"seed={seed}", f"run_dir=r{seed}"]) == 0
        )
    shutil.copytree("r1", "again")
    early = "r0/checkpoints/000000050"
    assert rl_eval.run(["r0", "r1", "again", early, "episodes=2", "output=both"]) == 0
    content = json.loads((here / "both/evaluations.json").read_text())
    assert [(g["settings"], g["seeds"]) for g in content["groups"]] == [
        ({}, [0, 1]),
        ({"checkpoint": 50}, [0]),
    ]
    assert "repeat a seed of their group: 1" in capfd.readouterr().out


def test_evaluation_inside_a_run_writes_outside_of_it(runs, here, monkeypatch):
    before = sorted((runs / "a0").rglob("*"))
    monkeypatch.chdir(runs / "a0" / "checkpoints")
    assert rl_eval.run([".", "../../a1", "episodes=1"]) == 0
    assert rl_eval.run(["", "episodes=1"]) == 2
    assert sorted((runs / "a0").rglob("*")) == before
    assert len(list(runs.rglob("evaluations.json"))) == 1


def test_checkpoint_has_the_success_rate_of_its_own_evaluation(here, capsys):
    folder = write_run(here / "a", {100: 1.0})
    found = {
        (path := str(folder / "checkpoints" / f"{step:09d}")): {
            "checkpoint": path,
            "step": step,
            "summary": {"mean": float(step), "success_rate": rate},
        }
        for step, rate in ((50, 0.25), (100, 1.0))
    }
    rows = summary.summarize(groups.group(evaluations._as_data(found)))
    rates = {Path(each["checkpoint"]): evaluations._rate(each) for each in found.values()}
    table.show_evaluations(rows, rates)
    lines = capsys.readouterr().out.splitlines()
    assert "25%" in next(line for line in lines if line.startswith(" 1 "))
    assert "100%" in next(line for line in lines if line.startswith(" 2 "))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/all", "render=human"], "a window shows one run"),
        (["runs/all", "jobs=0"], "jobs=0"),
        (["runs/none*"], "no path matches"),
        (["-m", "runs/all", "seed=1,2"], "one run at a time"),
    ],
)
def test_bad_input_is_refused_in_three_lines(here, capsys, words, message):
    for name in ("x", "y"):
        write_run(here / "runs" / "all" / name, {100: 1.0})
    assert rl_eval.run(words) == 2
    text = capsys.readouterr().err
    assert message in text
    assert len(text.splitlines()) <= 3
