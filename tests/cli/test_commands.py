"""A whole run and its evaluation with the commands; a user's own env; the wheel."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys

import imageio_ffmpeg

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from tests.conftest import REPO
from tests.runs import only_run


def test_run_prints_where_its_results_are(trained):
    folder, out = trained
    run = only_run(folder).relative_to(folder)
    assert f"rl-eval {run}" in out
    assert "tensorboard --logdir runs" in out
    assert f"{run}/videos/step_000000300_episode_0.mp4" in out
    assert "done: 300 steps" in out


def test_video_has_a_frame_per_step_of_the_episode(trained):
    folder, _ = trained
    run = only_run(folder)
    (video,) = (run / "videos").glob("*.mp4")
    with (run / "eval.csv").open() as file:
        first = next(r for r in csv.DictReader(file) if r["step"] == "300")  # the recorded episode
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert frames == int(first["episode_length"]) + 1


def test_tensorboard_reads_the_event_files(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(only_run(trained[0]) / "tb")).Reload()
    tags = events.Tags()["scalars"]
    assert {"rollout/episode_return", "rollout/episode_length", "eval/episode_return"} <= set(tags)
    assert {"eval/success_rate", "train/policy_loss", "time/steps_per_second"} <= set(tags)
    assert [e.step for e in events.Scalars("eval/episode_return")] == [150, 300]
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"algo.clip_coef" in start


def evaluation_json(folder):
    (found,) = (folder / "runs/evals").glob("*/evaluation.json")
    return json.loads(found.read_text())


def test_rl_eval_reproduces_the_evaluation_of_training(trained, invoke, here):
    """Equal seeds give equal returns, from a read-only copy of the run folder."""
    run = shutil.copytree(only_run(trained[0]), here / "elsewhere")
    for path in [*run.rglob("*"), run]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    code, out, _ = invoke(rl_eval.run, "elsewhere", "checkpoint=latest", "seed=10000", "episodes=3")
    for path in [run, *run.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert code == 0
    with (run / "eval.csv").open() as file:
        expected = [float(r["episode_return"]) for r in csv.DictReader(file) if r["step"] == "300"]
    result = evaluation_json(here)
    assert [e["return"] for e in result["episodes"]] == expected
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    assert f"{result['summary']['mean']:.2f}" in out


def test_rl_eval_reports_all_statistics_and_records_a_video(trained, invoke, here):
    checkpoint = only_run(trained[0]) / "checkpoints/000000150"
    args = ["episodes=5", "greedy=false", "video=true", "output=out", "env.success_at=1"]
    code, out, _ = invoke(rl_eval.run, str(checkpoint), *args)
    assert code == 0
    words = ["mean", "std", "median", "IQM", "95%", "min, max", "length", "success rate", "100%"]
    assert all(word in out for word in words)
    result = json.loads((here / "out/evaluation.json").read_text())
    assert result["step"] == 150
    assert result["greedy"] is False
    assert result["summary"]["success_rate"] == 1.0
    assert result["summary"]["iqm_low"] <= result["summary"]["iqm"] <= result["summary"]["iqm_high"]
    assert (here / "out/episode_20000.mp4").stat().st_size > 1_000


MODULE = """
import gymnasium as gym
import numpy as np

class Corridor(gym.Env):
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)

    def __init__(self, length=5):
        self.length, self.at = length, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.at += int(action)
        end = self.at >= self.length
        return np.array([self.at / self.length], np.float32), float(end), end, False, {}

gym.register("Corridor-v0", entry_point=Corridor, max_episode_steps=20)
"""


def test_env_of_a_user_module_and_conf_folder(command, here, tiny):
    """A module and a conf/ folder in the current folder, and a --config-dir."""
    (here / "corridor_module.py").write_text(MODULE)
    (here / "conf/env").mkdir(parents=True)
    env = "defaults: [_base, _self_]\nid: corridor_module:Corridor-v0\nkwargs: {length: 3}\n"
    (here / "conf/env/corridor.yaml").write_text(env)
    (here / "more/experiment").mkdir(parents=True)
    text = "# @package _global_\nseed: 5\nalgo: {gamma: 0.5}\n"
    (here / "more/experiment/mine.yaml").write_text(text)
    done = command(
        "rl-train", "env=corridor", "experiment=mine", "--config-dir", "more", *tiny, "run_dir=r"
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads(next(here.glob("r/checkpoints/*/manifest.json")).read_text())
    assert manifest["env"]["kwargs"] == {"length": 3}
    assert (manifest["seed"], manifest["algo"]["gamma"]) == (5, 0.5)


def test_env_of_a_user_module_without_yaml(here, tiny, capfd, monkeypatch):
    (here / "corridor_module.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    allowed = "env.id=corridor_module:Corridor-v0"
    assert rl_train.run([allowed, "env.kwargs.length=2", "algo=reinforce", *tiny]) == 0
    run = only_run(here)
    assert run.parent.name == "corridor_module-corridor-v0"
    name = str(run.relative_to(here))
    more = [f"resume={name}", "total_timesteps=450"]
    for program, words in ((rl_eval, [name, "episodes=3"]), (rl_train, more)):
        capfd.readouterr()
        assert program.run(words) == 2
        refused = capfd.readouterr()
        assert refused.out == ""
        assert f"if you trust it, add: {allowed}" in refused.err
        assert program.run([*words, allowed]) == 0


def test_wheel_trains_without_the_checkout(here, tiny):
    """The wheel is installed into another folder and run from an empty one."""
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(here / "dist"),
    ]
    subprocess.run([*build, str(REPO)], check=True, capture_output=True)
    (wheel,) = (here / "dist").glob("*.whl")
    site = here / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    code = "import sys, rl_cli; assert 'site' in rl_cli.__file__; from rl_cli.cli.train import main; main()"
    work = here / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, "algo=dqn", "env=mountaincar", *tiny, "run_dir=r"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (work / "r/checkpoints/best.json").exists()
    assert (site / "rl_cli/py.typed").exists()
    scripts = (next(site.glob("rl_cli-*.dist-info")) / "entry_points.txt").read_text()
    assert "rl-train" in scripts
    assert "rl-eval" in scripts
