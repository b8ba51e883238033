"""Wrong command lines are refused with a message, exit code 2, and without files or long imports."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys

import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from tests.conftest import of_this_machine
from tests.runs import only_run

MISTAKES = [
    (
        ["algo.learning_rat=1"],
        ["unknown key algo.learning_rat", "did you mean algo.learning_rate?"],
    ),
    (["+algo.learnin_rate=1"], ["unknown key algo.learnin_rate", "algo.learning_rate"]),
    (["gamma=0.9"], ["unknown key gamma", "did you mean algo.gamma?"]),
    (["step_timeout=1e-8"], ["less than 0.1 s", "step_timeout=0 for never"]),
    (["step_timeout=4611686018427387904"], ["step_timeout must be", "1000000"]),
    (["algo=dqnn"], ["no algo called dqnn", "dqn"]),
    (["env=mountain"], ["no env called mountain", "mountaincar"]),
    (["env=FrozenLake-v1"], ["env.id=FrozenLake-v1"]),
    (["hparams=ppo_cartpol"], ["no hparams called", "ppo_cartpole"]),
    (["experiment=smok"], ["no experiment called", "smoke"]),
    (["env.id=CartPol-v1"], ["CartPol", "did you mean CartPole-v1?"]),
    (["env.id=LunarLander-v2"], ["deprecated", "LunarLander-v3"]),
    (["env.id=nosuchmodule:Foo-v0"], ["nosuchmodule", "could not be imported"]),
    (["env.id=ALE/Pong-v5"], ['pip install -c constraints.txt ".[atari]"']),
    (["env.kwargs.foo=1"], ["foo", "CartPole-v1"]),
    (["env=null"], ["no env called null"]),
    (["algo.name=ppo"], ["choose the group algo", "algo=ppo"]),
    (["-m", "run_dir=r", "seed=0,1"], ["run_dir=r", "sweep"]),
    (["env.kwargs.max_episode_steps=5"], ["env.max_episode_steps"]),
    (["env.id=PongNoFrameskip-v4"], ['pip install -c constraints.txt ".[atari]"']),
    (["algo.buffer_size=1e15"], ["GB of memory", "fits: algo.buffer_size="]),
    (["threads=100000"], ["threads=100000", "[1, 256]"]),
    (["stop.eval_return=1", "eval.every=0"], ["eval.every"]),
    (["algo=dqn", "env=pendulum"], ["box", "algo=ppo", "algo=reinforce"]),
    (["algo.learning_rate=fast"], ['algo.learning_rate="fast"', "float"]),
    (["algo.learning_rate=-1"], ["algo.learning_rate=-1", "(0, 10]"]),
    (["algo.learning_rate=inf"], ["algo.learning_rate"]),
    (["algo.gamma=1.01"], ["algo.gamma=1.01", "[0, 1]"]),
    (["algo.hidden_sizes=[64,0]"], ["algo.hidden_sizes"]),
    (["algo.gamma=${nosuch}", "algo.gamma=2"], ["algo.gamma=2", "[0, 1]"]),
    (["algo.double_q=true"], ["this is now algo.bootstrap=double"]),
    (["video.beside=false"], ["unknown key video.beside", "this is now video.background"]),
    (["+video.beside=false"], ["this is now video.background"]),
    (["algo=rainbow", "algo.nstep=2"], ["did you mean algo.n_step?"]),
    (
        ["experiment=cartpole_dqn_replay", "algo=ppo"],
        ["a preset of algo=dqn", "rl-train algo=ppo env=cartpole"],
    ),
    (["-m", "experiment=cartpole_dqn_replay", "algo=dqn,ppo"], ["a preset of algo=dqn"]),
    (["algo=rainbow", "algo.loss=mse"], ["loss=mse does not apply to distributional=c51"]),
    (["algo.loss=hubber"], ["huber | mse"]),
    (["seed=1.5"], ["seed=1.5", "int"]),
    (["seed=0,1"], ["seed=0,1", "rl-train -m"]),
    (["total_timesteps=0"], ["total_timesteps=0", "[1, inf)"]),
    (["env.num_envs=0"], ["env.num_envs=0"]),
    (["env.grayscale=true"], ["env.grayscale", "pixel"]),
    (["env=carracing", "algo=ppo", "env.normalize_obs=true"], ["env.normalize_obs"]),
    (["device=tpu"], ["device", "auto | cpu | cuda"]),
    (["algo.lr"], ["cannot read this argument", "key=value"]),
    (["seed=["], ["cannot read this argument"]),
    (["resume=nowhere"], ["nowhere"]),
]


@pytest.mark.parametrize(
    ("args", "words"), of_this_machine(MISTAKES), ids=lambda v: " ".join(v) if v else ""
)
def test_mistake_is_explained_in_a_few_lines_and_leaves_no_file(invoke, here, args, words):
    code, out, err = invoke(rl_train.run, *args)
    assert code == 2
    for word in words:
        assert word in err, err
    assert len(err.splitlines()) <= 12
    assert "Traceback" not in err + out
    assert not list(here.iterdir())


def test_experiment_with_tuned_values_of_another_env_is_refused(invoke, here, tiny):
    (here / "conf/experiment").mkdir(parents=True)
    text = "# @package _global_\nenv: {id: Acrobot-v1}\n"
    (here / "conf/experiment/other.yaml").write_text(text)
    code, _, err = invoke(rl_train.run, "experiment=other", *tiny)
    assert code == 2
    assert "CartPole-v1 would be applied to Acrobot-v1" in err
    code, *_ = invoke(rl_train.run, "experiment=other", "hparams=none", *tiny)
    assert code == 0


def test_help_works_with_an_env_file_that_is_not_yaml(invoke, here):
    (here / "conf/env").mkdir(parents=True)
    (here / "conf/env/broken.yaml").write_text("id: [")
    code, out, err = invoke(rl_train.run, "env=broken", "total_timesteps=100")
    assert code == 2
    assert "Traceback" not in err
    code, out, _ = invoke(rl_train.run, "--help")
    assert code == 0
    assert "not readable as YAML" in out


def test_mistake_exits_with_2(command):
    done = command("rl-train", "algo.gama=1")
    assert done.returncode == 2
    assert "did you mean algo.gamma?" in done.stderr
    assert not done.stdout


def test_run_dir_that_is_not_empty_is_refused(invoke, here):
    (here / "mine").mkdir()
    (here / "mine/thesis.txt").write_text("years of work")
    code, _, err = invoke(rl_train.run, "run_dir=mine")
    assert code == 2
    assert "not empty" in err
    assert [p.name for p in (here / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], ["no such folder", "nowhere"]),
        (["."], ["no checkpoint here"]),
        (["RUN", "checkpoint=17"], ["no checkpoint 17", "150", "300"]),
        (["RUN", "episodes=0"], ["episodes=0", "[1, inf)"]),
        (["RUN", "epsodes=3"], ["unknown key epsodes", "episodes"]),
        (["RUN", "env.id=Pendulum-v1"], ["ppo", "do not fit"]),
        (["RUN", "env.kwarg.x=3"], ["env.kwarg"]),
        (["RUN", "env.kwargs=5"], ["env.kwargs"]),
        (["RUN", "RUN"], ["rl-eval evaluates one run at a time"]),
        (["-m", "RUN", "seed=1,2"], ["rl-eval evaluates one run at a time"]),
        (["RUN", "output=/dev/null/x"], ["cannot write here", "output="]),
        (["RUN", "render=human"], ["no display"]),
    ],
)
def test_mistake_of_rl_eval_is_explained(trained, invoke, monkeypatch, args, words):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    run = str(only_run(trained[0]))
    code, _, err = invoke(rl_eval.run, *[a.replace("RUN", run) for a in args])
    assert code == 2, err
    assert all(word in err for word in words), err
    assert len(err.splitlines()) <= 12


def test_damaged_checkpoint_is_named_with_an_intact_one(trained, invoke, here):
    run = shutil.copytree(only_run(trained[0]), here / "copy")
    policy = run / "checkpoints/000000300/policy.safetensors"
    data = bytearray(policy.read_bytes())
    data[-1] ^= 1
    policy.write_bytes(data)
    code, _, err = invoke(rl_eval.run, "copy", "checkpoint=latest")
    assert code == 2
    assert "SHA-256" in err
    assert "000000300/policy.safetensors" in err
    assert "150" in err  # the step of an intact checkpoint


# Refusals without torch

NEED_NETWORKS = (["algo=dqn", "env=pendulum"],)
"""Refused by the algorithm's class, which imports torch."""

REFUSALS = """
import contextlib, io, json, sys
from rl_cli.core import devices
devices.version = lambda package: "2.9.0+cpu"
from rl_cli.cli import evaluate, play, train
programs = {"rl-train": train, "rl-eval": evaluate, "rl-play": play}
sys.argv = ["command"]
for program, args in json.loads(sys.stdin.read()):
    with contextlib.redirect_stderr(io.StringIO()) as err:
        code = programs[program].run(args)
    if code != 2 or "torch" in sys.modules:
        sys.exit(f"{program} {args}: exit code {code}, torch: {'torch' in sys.modules}\\n{err.getvalue()}")
"""


def test_refusals_that_need_no_networks_import_no_torch(trained, here):
    run = str(only_run(trained[0]))
    shutil.copytree(run, here / "damaged")
    manifest = here / "damaged/checkpoints/000000300/manifest.json"
    manifest.write_text(manifest.read_text().replace("300", "301"))
    train = [args for args, _ in of_this_machine(MISTAKES) if args not in NEED_NETWORKS]
    train += [["device=cuda"], ["-m", "device=cuda,cpu"], [f"run_dir={run}", "device=cuda"]]
    train += [[f"resume={run}", word] for word in ("algo.gamma=0.5", "eval.evry=3", "seed.x=1")]
    train += [[f"resume={run}", "video.beside=false"], ["resume=auto"], ["algo.prefill=nowhere"]]
    (here / "empty").mkdir()
    evaluate = [
        ["nowhere"],
        ["empty"],
        [run, "checkpoint=17"],
        [run, "episodes=0"],
        [run, "epsodes=3"],
    ]
    evaluate += [[run, "device=cuda"], ["damaged", "checkpoint=latest"], [run, "env.id=NoSuch-v0"]]
    play = [["env=nowhere"], ["episodes=-1"], ["-m", "seed=1,2"]]
    cases = [("rl-train", args) for args in train] + [("rl-eval", args) for args in evaluate]
    cases += [("rl-play", args) for args in play]
    done = subprocess.run(
        [sys.executable, "-c", REFUSALS],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["evaluate", "export", "report", "runs", "train"])
def test_text_that_no_file_can_be_named_is_refused(program, here, capfd):
    """300 characters are more than a file system allows for a name."""
    module = importlib.import_module(f"rl_cli.cli.{program}")
    name = "a" * 300
    for words in ([name], [name, name]) if program != "train" else ([f"resume={name}"],):
        assert module.run(words) == 2
        out, err = capfd.readouterr()
        what, _, fix = err.splitlines()
        assert out == ""
        assert what.startswith("error: ")
        assert fix.startswith("  do: ")
