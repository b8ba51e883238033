"""The commands as a person uses them: help, mistakes, a whole run and its replay, a sweep."""

from __future__ import annotations

import contextlib
import csv
import gc
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import pytest

from rl_cli.cli import compose, deferred
from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.run import RunConfig
from rl_cli.config.schema import keys
from tests.config.test_config import ALGOS, ENVS
from tests.conftest import REPO, of_this_machine

EVERYTHING = [
    "total_timesteps=300",
    "eval.every=150",
    "eval.episodes=3",
    "checkpoint.every=150",
    "log.every=50",
    "video.every=300",
]


@pytest.fixture
def said(capsys, monkeypatch, here):
    """Run a command in this process; -> (exit code, stdout, stderr)."""

    def run(main, *args):
        monkeypatch.setattr(sys, "argv", ["command"])
        code = main(list(args))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def only_run(folder):
    (found,) = folder.glob("runs/*/*/*/status.json")
    return found.parent


# Help


AT_THE_FIRST_STEP = """
import os, sys
from hydra._internal.config_loader_impl import ConfigLoaderImpl as Loader
from rl_cli import vector
from rl_cli.cli import train
plain, composed = Loader.load_configuration, []
def load(self, *args, **kwargs):
    composed.append(1)
    return plain(self, *args, **kwargs)
def step(self, action):
    late = [m for m in sys.modules if m.startswith(("tensorboard", "torch.utils.tensorboard"))]
    print(len(composed), late, flush=True)
    os._exit(0)
Loader.load_configuration, vector.VectorEnv.step = load, step
train.run(sys.argv[1:])
"""


def test_the_first_step_waits_for_one_composition_and_for_no_tensorboard(here):
    args = [sys.executable, "-c", AT_THE_FIRST_STEP, "experiment=smoke", "log.tensorboard=true"]
    done = subprocess.run(args, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 []"


@pytest.mark.parametrize("package", ["json.tool", "no_such_package"])
def test_an_import_leaves_the_collector_as_it_was(package):
    frozen = gc.get_freeze_count()
    try:
        for switch in (gc.disable, gc.enable):
            switch()
            with contextlib.suppress(ImportError):
                deferred._imported(package)
            assert gc.isenabled() == (switch is gc.enable)
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


def composed(*argv):
    """The configurations that a command line runs, as it would compose them."""
    found = []
    compose.run_hydra("config", compose.prepare(list(argv)), lambda cfg: found.append(cfg))
    return found


@pytest.mark.parametrize(
    "chosen", ["hydra: {mode: MULTIRUN}", "defaults: [{override /sweep: seeds}]"]
)
def test_a_file_may_make_a_sweep_of_it(chosen, here):
    (here / "conf/experiment").mkdir(parents=True)
    (here / "conf/experiment/many.yaml").write_text(f"# @package _global_\n{chosen}\n")
    found = composed("experiment=many", "seed=7,8", "eval.episodes=3")
    assert [(cfg.seed, cfg.eval.episodes, "hydra" in cfg) for cfg in found] == [
        (7, 3, False),
        (8, 3, False),
    ]


def test_a_sweep_composes_each_job_once(here, monkeypatch):
    """Hydra's trial of them is for launchers that compose elsewhere; those keep it."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.plugins.sweeper import Sweeper

    made, plain = [], ConfigLoaderImpl.load_sweep_config
    before = Sweeper.validate_batch_is_legal

    def counted(self, master_config, sweep_overrides):
        made.append(sweep_overrides)
        return plain(self, master_config, sweep_overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    assert [cfg.seed for cfg in composed("-m", "seed=1,2,3")] == [1, 2, 3]
    assert len(made) == 3
    assert Sweeper.validate_batch_is_legal is before


def test_help_imports_no_torch():
    code = (
        "import sys; from rl_cli.cli.train import run; assert run(['--help']) == 0;"
        "sys.exit(any(m.startswith(('torch.', 'gymnasium')) for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_help_names_every_choice_and_explains_every_key(said):
    code, out, _ = said(rl_train.run, "--help")
    assert code == 0
    for name in [*ALGOS, *ENVS]:
        assert re.search(rf"^  {name} ", out, re.MULTILINE), name
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    for name, key in {**keys(RunConfig), **keys(AlgoConfig, "algo")}.items():
        if name != "algo":
            assert key.doc in lines[name]
            assert key.interval in lines[name]
    assert re.search(r"^eval\.every +int +\[0, inf\) +10000 ", out, re.MULTILINE)


def test_help_of_one_algorithm_leaves_the_others_out(said):
    _, out, _ = said(rl_train.run, "algo=ppo", "--help")
    assert "algo.clip_coef" in out
    assert "algo.buffer_size" not in out


def test_help_of_a_set_of_switches_is_that_of_its_algorithm(said):
    _, out, _ = said(rl_train.run, "algo=rainbow", "--help")
    assert "algo.n_step" in out
    assert "algo.clip_coef" not in out


def test_eval_help_explains_every_key(said):
    code, out, _ = said(rl_eval.run, "--help")
    assert code == 0
    assert re.search(r"^episodes +int +\[1, inf\) +100 ", out, re.MULTILINE)


def test_what_was_made_before_an_import_is_still_taken_apart_at_the_end():
    """An env refers to itself: only the collector frees it, which Atari's emulator complains without."""
    code = (
        "import sys; from rl_cli.cli.deferred import defer; defer('tomllib'); import tomllib\n"
        "class Env:\n  def __del__(self): sys.__stdout__.write('closed')\n"
        "env = Env(); env.unwrapped = env; tomllib.loads; del env"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "closed"


# Mistakes

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
    (["env=CartPole-v1"], ["env.id=CartPole-v1"]),
    (["hparams=ppo_cartpol"], ["no hparams called", "ppo_cartpole"]),
    (["experiment=smok"], ["no experiment called", "smoke"]),
    (["env.id=CartPol-v1"], ["CartPol", "did you mean CartPole-v1?"]),
    (["env.id=LunarLander-v2"], ["deprecated", "LunarLander-v3"]),
    (["env.id=nosuchmodule:Foo-v0"], ["nosuchmodule", "could not be imported"]),
    (["env.id=ALE/Pong-v5"], ['pip install -c constraints.txt ".[atari]"']),
    (["env.kwargs.foo=1"], ["foo", "CartPole-v1"]),
    (["env=null"], ["no env called null"]),
    (["algo.name=ppo"], ["chosen by its group", "algo=ppo"]),
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
    (["algo=rainbow", "algo.nstep=2"], ["did you mean algo.n_step?"]),
    (
        ["experiment=cartpole_dqn_replay", "algo=ppo"],
        ["a preset of algo=dqn", "rl-train algo=ppo env=cartpole"],
    ),
    (["-m", "experiment=cartpole_dqn_replay", "algo=dqn,ppo"], ["a preset of algo=dqn"]),
    (["algo=rainbow", "algo.loss=mse"], ["distributional=c51 has a loss of its own"]),
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
def test_a_mistake_is_explained_in_a_few_lines_and_leaves_nothing(said, here, args, words):
    code, out, err = said(rl_train.run, *args)
    assert code == 2
    for word in words:
        assert word in err, err
    assert len(err.splitlines()) <= 12
    assert "Traceback" not in err + out
    assert not list(here.iterdir())


def test_an_experiment_cannot_put_another_env_under_tuned_values(said, here, tiny):
    (here / "conf/experiment").mkdir(parents=True)
    text = "# @package _global_\nenv: {id: Acrobot-v1}\n"
    (here / "conf/experiment/other.yaml").write_text(text)
    code, _, err = said(rl_train.run, "experiment=other", *tiny)
    assert code == 2
    assert "CartPole-v1 would be applied to Acrobot-v1" in err
    code, *_ = said(rl_train.run, "experiment=other", "hparams=none", *tiny)
    assert code == 0


def test_a_conf_folder_that_is_not_yaml_is_named(said, here):
    (here / "conf/env").mkdir(parents=True)
    (here / "conf/env/broken.yaml").write_text("id: [")
    code, out, err = said(rl_train.run, "env=broken", "total_timesteps=100")
    assert code == 2
    assert "Traceback" not in err
    code, out, _ = said(rl_train.run, "--help")
    assert code == 0
    assert "not readable as YAML" in out


def test_a_mistake_ends_the_process_with_2(command):
    done = command("rl-train", "algo.gama=1")
    assert done.returncode == 2
    assert "did you mean algo.gamma?" in done.stderr
    assert not done.stdout


def test_a_folder_in_use_is_not_overwritten(said, here):
    (here / "mine").mkdir()
    (here / "mine/thesis.txt").write_text("years of work")
    code, _, err = said(rl_train.run, "run_dir=mine")
    assert code == 2
    assert "not empty" in err
    assert [p.name for p in (here / "mine").iterdir()] == ["thesis.txt"]


# A whole run, and its replay


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One finished run as a person makes it: rl-train in an empty folder."""
    folder = tmp_path_factory.mktemp("person")
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    args = ["algo=ppo", "env=cartpole", "env.num_envs=1", "env.normalize_obs=true", *EVERYTHING]
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_ends_by_saying_where_things_are(trained):
    folder, out = trained
    run = only_run(folder).relative_to(folder)
    assert f"rl-eval {run}" in out
    assert "tensorboard --logdir runs" in out
    assert f"{run}/videos/step_000000300_episode_0.mp4" in out
    assert "done: 300 steps" in out


def test_the_video_shows_the_episode(trained):
    folder, _ = trained
    run = only_run(folder)
    (video,) = (run / "videos").glob("*.mp4")
    with (run / "eval.csv").open() as file:
        first = next(r for r in csv.DictReader(file) if r["step"] == "300")  # its seed was filmed
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(video))
    assert frames == int(first["episode_length"]) + 1


def test_curves_can_be_read_by_tensorboard(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(only_run(trained[0]) / "tb")).Reload()
    tags = events.Tags()["scalars"]
    assert {"rollout/episode_return", "rollout/episode_length", "eval/episode_return"} <= set(tags)
    assert {"eval/success_rate", "train/policy_loss", "time/steps_per_second"} <= set(tags)
    assert [e.step for e in events.Scalars("eval/episode_return")] == [150, 300]
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"algo.clip_coef" in start


def replay_json(folder):
    (found,) = (folder / "runs/evals").glob("*/evaluation.json")
    return json.loads(found.read_text())


def test_replay_repeats_the_evaluation_of_training_exactly(trained, said, here):
    """Same seeds, same returns, from a copy of the folder that nobody may write to."""
    run = shutil.copytree(only_run(trained[0]), here / "elsewhere")
    for path in [*run.rglob("*"), run]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    code, out, _ = said(rl_eval.run, "elsewhere", "checkpoint=latest", "seed=10000", "episodes=3")
    for path in [run, *run.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert code == 0
    with (run / "eval.csv").open() as file:
        told = [float(r["episode_return"]) for r in csv.DictReader(file) if r["step"] == "300"]
    result = replay_json(here)
    assert [e["return"] for e in result["episodes"]] == told
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    assert f"{result['summary']['mean']:.2f}" in out


def test_replay_reports_all_statistics_and_films(trained, said, here):
    checkpoint = only_run(trained[0]) / "checkpoints/000000150"
    args = ["episodes=5", "greedy=false", "video=true", "output=out", "env.success_at=1"]
    code, out, _ = said(rl_eval.run, str(checkpoint), *args)
    assert code == 0
    words = ["mean", "std", "median", "IQM", "95%", "min, max", "length", "success rate", "100%"]
    assert all(word in out for word in words)
    result = json.loads((here / "out/evaluation.json").read_text())
    assert result["step"] == 150
    assert result["greedy"] is False
    assert result["summary"]["success_rate"] == 1.0
    assert result["summary"]["iqm_low"] <= result["summary"]["iqm"] <= result["summary"]["iqm_high"]
    assert (here / "out/episode_20000.mp4").stat().st_size > 1_000


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
        (["RUN", "RUN"], ["one run is replayed at a time"]),
        (["-m", "RUN", "seed=1,2"], ["one run is replayed at a time"]),
        (["RUN", "output=/dev/null/x"], ["cannot write here", "output="]),
        (["RUN", "render=human"], ["no screen"]),
    ],
)
def test_a_mistake_in_replay_is_explained(trained, said, monkeypatch, args, words):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    run = str(only_run(trained[0]))
    code, _, err = said(rl_eval.run, *[a.replace("RUN", run) for a in args])
    assert code == 2, err
    assert all(word in err for word in words), err
    assert len(err.splitlines()) <= 12


def test_a_damaged_checkpoint_is_named(trained, said, here):
    run = shutil.copytree(only_run(trained[0]), here / "copy")
    policy = run / "checkpoints/000000300/policy.safetensors"
    data = bytearray(policy.read_bytes())
    data[-1] ^= 1
    policy.write_bytes(data)
    code, _, err = said(rl_eval.run, "copy", "checkpoint=latest")
    assert code == 2
    assert "SHA-256" in err
    assert "000000300/policy.safetensors" in err
    assert "150" in err  # which other one to use


# Configuration of one's own

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


def test_an_env_of_ones_own_needs_no_fork(command, here, tiny):
    """A module and a conf/ folder where the person works, and a --config-dir beside it."""
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


def test_an_env_without_any_yaml(command, here, tiny):
    (here / "corridor_module.py").write_text(MODULE)
    args = ["env.id=corridor_module:Corridor-v0", "env.kwargs.length=2", "algo=reinforce"]
    done = command("rl-train", *args, *tiny)
    assert done.returncode == 0, done.stderr
    run = only_run(here)
    assert run.parent.name == "corridor_module-corridor-v0"
    word = "env.id=corridor_module:Corridor-v0"
    refused = command("rl-eval", str(run.relative_to(here)), "episodes=3")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"if you trust it, add: {word}" in refused.stderr
    done = command("rl-eval", str(run.relative_to(here)), word, "episodes=3")
    assert done.returncode == 0, done.stderr
    more = ["rl-train", f"resume={run.relative_to(here)}", "total_timesteps=450"]
    refused = command(*more)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"if you trust it, add: {word}" in refused.stderr
    assert command(*more, word).returncode == 0


# Sweeps


def test_a_sweep_runs_every_combination_and_takes_seeds_together(command, here, tiny):
    done = command("rl-train", "-m", "algo=dqn,ppo", "env=cartpole", "seed=0,1", *tiny)
    assert done.returncode == 0, done.stderr
    assert len(list(here.glob("runs/dqn/cartpole/*_s0_*"))) == 1
    assert len(list(here.glob("runs/ppo/cartpole/*_s1_*"))) == 1
    jobs = [json.loads(p.read_text()) for p in sorted(here.glob("runs/sweeps/*/job_*.json"))]
    assert [(j["labels"][0], j["seed"], j["state"]) for j in jobs] == [
        ("dqn", 0, "completed"),
        ("dqn", 1, "completed"),
        ("ppo", 0, "completed"),
        ("ppo", 1, "completed"),
    ]
    assert "over seeds" in done.stdout
    assert "95% interval" in done.stdout


def test_a_job_that_fails_does_not_take_the_sweep_along(command, here, tiny):
    done = command("rl-train", "-m", "algo=dqn,ppo", "env=pendulum", *tiny)
    assert done.returncode == 2
    assert "box" in done.stderr
    assert len(list(here.glob("runs/ppo/pendulum/*/status.json"))) == 1
    assert not (here / "runs/dqn").exists()
    assert "failed" in done.stdout


def test_two_at_a_time_are_the_same_runs(command, here, tiny):
    """The same weights as one after the other; a job that cannot be takes no other along."""
    hashes = {}
    for jobs in (1, 2):
        args = ["algo=ppo,dqn", "env=cartpole", "seed=0,1", f"jobs={jobs}", *tiny]
        done = command("rl-train", "-m", *args, f"hydra.sweep.dir=sweep{jobs}")
        assert done.returncode == 0, done.stderr
        records = [json.loads(p.read_text()) for p in sorted(here.glob(f"sweep{jobs}/job_*.json"))]
        assert [r["state"] for r in records] == ["completed"] * 4
        policies = [
            Path(r["run_dir"]) / "checkpoints/000000400/policy.safetensors" for r in records
        ]
        hashes[jobs] = [hashlib.sha256((here / p).read_bytes()).hexdigest() for p in policies]
    assert hashes[1] == hashes[2]
    assert len(set(hashes[1])) == 4
    assert (
        command("rl-train", f"resume={records[0]['run_dir']}", "total_timesteps=500").returncode
        == 0
    )
    done = command("rl-train", "-m", "algo=dqn,ppo", "env=pendulum", "jobs=2", *tiny)
    assert done.returncode == 2
    assert len(list(here.glob("runs/ppo/pendulum/*/status.json"))) == 1


def test_a_signal_to_a_sweep_of_several_reaches_each(here, tiny):
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    args = ["-m", "env=cartpole", "hparams=none", "seed=0,1,2", "jobs=2", *tiny]
    args += ["total_timesteps=10000000", "hydra.sweep.dir=sweep"]
    process = subprocess.Popen([sys.executable, "-c", code, *args], cwd=here)
    deadline = time.monotonic() + 60
    while sum(p.read_text().count("\n") > 3 for p in here.glob("runs/*/*/*/metrics.csv")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    states = [json.loads(p.read_text()) for p in here.glob("runs/*/*/*/status.json")]
    assert [(s["state"], s["reason"]) for s in states] == [("interrupted", "SIGTERM")] * 2


# Signals, and going on


def test_a_terminated_run_goes_on_from_where_it_was(here, tiny):
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    args = ["env=cartpole", "hparams=none", *tiny, "total_timesteps=10000000", "run_dir=r"]
    process = subprocess.Popen([sys.executable, "-c", code, *args], cwd=here)
    deadline = time.monotonic() + 60
    metrics = here / "r/metrics.csv"
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    status = json.loads((here / "r/status.json").read_text())
    assert (status["state"], status["reason"]) == ("interrupted", "SIGTERM")
    step = status["step"]
    done = subprocess.run(
        [sys.executable, "-c", code, "resume=r", f"total_timesteps={step + 50}"],
        cwd=here,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads((here / "r/status.json").read_text())["step"] == step + 50
    steps = [int(r.split(",")[0]) for r in metrics.read_text().splitlines()[1:]]
    assert steps == sorted(set(steps))


def test_resume_refuses_to_become_another_run(said, here, tiny):
    code, *_ = said(rl_train.run, "env=cartpole", *tiny, "run_dir=r")
    assert code == 0
    code, _, err = said(rl_train.run, "resume=r", "total_timesteps=10")
    assert code == 2
    assert "already at step 400" in err
    code, *_ = said(rl_train.run, "resume=r", "total_timesteps=4.5e2")
    assert code == 0
    code, *_ = said(rl_train.run, "resume=r")  # the longer budget is the run's own now
    assert code == 0
    assert json.loads((here / "r/status.json").read_text())["step"] == 450
    for change, shown in (
        ("algo.gamma=0.5", "algo.gamma is 0.99 in the run, 0.5 was given"),
        ("seed=3", "seed is 0 in the run, 3 was given"),
        ("env=pendulum", "env=pendulum"),
    ):
        code, _, err = said(rl_train.run, "resume=r", change)
        assert code == 2
        assert shown in err
    code, out, _ = said(rl_train.run, "resume=r", "algo.gamma=0.99", "env=cartpole")  # as it is
    assert code == 0
    assert "this run is complete" in out
    code, _, err = said(rl_train.run, "resume=r", "eval.evry=3")
    assert "did you mean eval.every?" in err


# The wheel


def test_the_wheel_trains_from_any_folder(here, tiny):
    """Built, installed without the checkout beside it, run from an empty folder."""
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


@pytest.mark.parametrize(
    ("preset", "word"),
    [
        ("hydra: {job: {env_set: {RL_CLI_SEEN: yes}}}", ""),
        ("run_dir: ${hydra:job.name}_mine", ""),
        ("seed: 1", "run_dir=${hydra:job.name}_mine"),
    ],
)
def test_what_only_a_run_of_hydras_knows_is_left_to_it(here, preset, word):
    """Composed by ourselves, ${hydra:...} would be of another run, and env_set nobody's."""
    (here / "conf/experiment").mkdir(parents=True)
    (here / "conf/experiment/mine.yaml").write_text(f"# @package _global_\n{preset}\n")
    words = ["experiment=mine", f"hydra.searchpath=[file://{here}/conf]", *([word] if word else [])]
    assert compose._for_hydra(words) or compose._composed("config", words) is None


def test_no_module_asks_anything_of_torch_when_it_is_imported(here):
    """A refused command line would wait two seconds for it."""
    code = (
        "import sys; from rl_cli.cli.deferred import defer; defer('torch'); import rl_cli.training.experiment\n"
        "import rl_cli.algos.dqn, rl_cli.algos.ppo, rl_cli.algos.reinforce, rl_cli.evaluation.replay, rl_cli.evaluation.play\n"
        "print(sorted(name for name in sys.modules if name.startswith('torch.'))[:3])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
