"""One algorithm, buffer and environment of another package train, resume and evaluate.

The package consists of the modules in `example/`, an entry point in the group `rl_cli.algos`, and a conf/
folder in the working folder of the user. Nothing in rl_cli names them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bars.kill_points import run_digests

EXAMPLE = Path(__file__).parent / "example"
ENTRY_POINTS = "[rl_cli.algos]\nq_learning = example_algorithm:QLearning\n"
METADATA = "Metadata-Version: 2.1\nName: example\nVersion: 1.0\n"
RUN = [
    *("algo=q_learning", "env=corridor", "hparams=none", "env.num_envs=2", "total_timesteps=1600"),
    *(
        "eval.every=800",
        "eval.episodes=2",
        "checkpoint.every=800",
        "log.every=400",
        "compile=false",
    ),
    *("log.tensorboard=false", "video.episodes=0", "quiet=true"),
]
TRUST = "env.id=example_env:Corridor-v0"
PROGRAM = """
import json, sys
sys.path.insert(0, "site-packages")
from rl_cli.cli import evaluate, train
for program, *args in json.loads(sys.argv[1]):
    if code := {"rl-train": train.run, "rl-eval": evaluate.run}[program](args):
        sys.exit(code)
"""


@pytest.fixture
def run_commands(here):
    """A function that runs command lines in a process in which the example package is installed."""
    info = here / "site-packages/example-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (info / "METADATA").write_text(METADATA)
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, here / "site-packages")
    shutil.copytree(EXAMPLE / "conf", here / "conf")

    def run(*commands):
        args = [sys.executable, "-I", "-c", PROGRAM, json.dumps(commands)]
        return subprocess.run(args, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_algorithm_buffer_and_env_of_another_package(here, run_commands):
    """The policy reaches the return 1 of the optimal policy, and resume is exact."""
    done = run_commands(
        ["rl-train", *RUN, "run_dir=whole"],
        ["rl-train", *RUN, "run_dir=r", "total_timesteps=800"],
        ["rl-train", "resume=r", "total_timesteps=1600", TRUST, "quiet=true"],
        ["rl-eval", "r", TRUST, "episodes=2", "output=out"],
    )
    assert done.returncode == 0, done.stderr
    episodes = json.loads((here / "out/evaluation.json").read_text())["episodes"]
    assert [(e["return"], e["length"]) for e in episodes] == [(1.0, 3), (1.0, 3)]
    whole, resumed = run_digests(here / "whole"), run_digests(here / "r")
    assert resumed == whole


def test_key_of_an_algorithm_of_another_package_is_checked(run_commands):
    done = run_commands(["rl-train", *RUN, "algo.epsilon=2"])
    assert done.returncode == 2, done.stderr
    assert "algo.epsilon=2" in done.stderr
    assert "[0, 1]" in done.stderr
