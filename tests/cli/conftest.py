"""Fixtures of the tests of the commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

EVERYTHING = [
    "total_timesteps=300",
    "eval.every=150",
    "eval.episodes=3",
    "checkpoint.every=150",
    "log.every=50",
    "video.every=300",
]


@pytest.fixture
def invoke(capsys, monkeypatch, here):
    """Run a command in this process; -> (exit code, stdout, stderr)."""

    def run(main, *args):
        monkeypatch.setattr(sys, "argv", ["command"])
        code = main(list(args))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of rl-train in an empty folder; -> (folder, stdout)."""
    folder = tmp_path_factory.mktemp("user")
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    args = ["algo=ppo", "env=cartpole", "env.num_envs=1", "env.normalize_obs=true", *EVERYTHING]
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout
