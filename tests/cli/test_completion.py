"""Completion: which candidates are offered, and that bash inserts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from rl_cli.cli import completion
from rl_cli.cli import train as rl_train
from rl_cli.cli.completion import candidates
from tests.config.test_config import ALGOS, ENVS

RUN = "runs/dqn/cartpole/20261126-141158_s0_dee8"


@pytest.fixture
def run(here):
    (here / RUN).mkdir(parents=True)
    (here / RUN / "config.yaml").write_text("")
    return here


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rl-train algo=", [f"algo={name}" for name in ALGOS]),
        ("rl-train env=cart", ["env=cartpole"]),
        ("rl-train -m algo=ppo,d", ["algo=ppo,dqn"]),
        ("rl-train tot", ["total_timesteps=", "total_episodes="]),
        ("rl-train ev", ["eval."]),
        ("rl-train algo=ppo algo.cl", ["algo.clip_coef=", "algo.clip_value_loss="]),
        ("rl-train algo=dqn algo.cl", []),
        ("rl-train algo=dqn algo.dueling=", ["algo.dueling=true", "algo.dueling=false"]),
        ("rl-train algo=dqn algo.loss=", ["algo.loss=huber", "algo.loss=mse"]),
        ("rl-train device=c", ["device=cpu", "device=cuda"]),
        ("rl-train --doc", ["--doctor"]),
        ("rl-train resume=", ["resume=latest", f"resume={RUN}"]),
        ("rl-train resume=2026", [f"resume={RUN[18:]}"]),
        ("rl-train run_dir=ru", ["run_dir=runs/"]),
        ("rl-eval runs/d", [RUN]),
        ("rl-eval la", ["latest"]),
        ("rl-eval latest epi", ["episodes="]),
        ("rl-eval latest checkpoint=", []),
        ("/somewhere/rl-play ep", ["episodes="]),
        ("rl-runs sta", ["state="]),
        ("rl-report runs/d", ["runs/dqn/"]),
        ("rl-search tri", ["trials="]),
        ("rl-train algo.nonsense=", []),
        ("rl-train", None),
    ],
)
def test_candidates(run, line, expected):
    found = candidates(line)
    if expected is None:
        assert {"algo=", "algo.", "env=", "seed="} <= set(found)
    else:
        assert found == expected


def test_every_env_is_offered(here):
    assert candidates("rl-play env=") == [f"env={name}" for name in ENVS]


def test_bash_inserts_what_follows_the_equals_sign(run, tmp_path_factory):
    """The script in a real bash, with programs that call this package."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    programs = tmp_path_factory.mktemp("bin")
    (programs / "rl-train").write_text(
        f"#!{sys.executable}\nimport sys\nfrom rl_cli.cli.train import run\nsys.exit(run(sys.argv[1:]))\n"
    )
    (programs / "rl-train").chmod(0o755)
    code = completion.BASH + (
        'COMP_LINE="rl-train env.id=x algo=r"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=(rl-train)\n'
        'compopt() { echo "$@"; }; _rl_cli; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    env = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", code],
        cwd=run,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["rainbow", "reinforce"], done.stderr


def test_scripts_are_printed_and_other_shells_refused(invoke):
    for shell, text in completion.SCRIPTS.items():
        assert invoke(rl_train.run, "--completion", shell) == (0, text, "")
    for words in (["--completion", "fish"], ["--completion"]):
        code, out, err = invoke(rl_train.run, *words)
        assert (code, out) == (2, "")
        assert "bash or zsh" in err


def test_asking_imports_neither_torch_nor_hydra(here):
    code = (
        "import sys; from rl_cli.cli.train import run; run(['--complete', 'zsh', 'rl-train algo=']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'hydra', 'gymnasium')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.split() == [f"algo={name}" for name in ALGOS]
