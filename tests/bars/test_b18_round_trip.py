"""B18: rl-eval reproduces the returns of the evaluations during training, also after the folder is moved."""

from __future__ import annotations

import csv
import ctypes
import functools
import json
import os
import shutil

import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from tests.bars.audit import run_audited
from tests.bars.results import report
from tests.conftest import FULL, REPO

EPISODES = 20 if FULL else 5
RUNS = {
    "dqn": ["env=cartpole", "hparams=none", "algo.learning_starts=100"],
    "ppo": ["env=pendulum", "env.normalize_obs=true"],
    "reinforce": ["env=cartpole", "hparams=none", "algo.learning_rate=2e-2"],
    "dqn-sampled": ["env=cartpole", "hparams=none", "eval.greedy=false"],
    "ppo-sampled": ["env=lunarlander", "eval.greedy=false", "env.normalize_obs=true"],
    "ppo-changed": [
        *("env=lunarlander", "env.kwargs.enable_wind=true", "env.frame_stack=2", "hparams=none"),
        *("algo.rollout_length=64", "algo.learning_rate=1e-3"),
    ],
}
QUICK = ("dqn", "ppo-sampled")
SETTINGS = [
    *("total_timesteps=600", "eval.every=300", f"eval.episodes={EPISODES}", "checkpoint.every=300"),
    *("env.num_envs=2", "log.tensorboard=false", "video.episodes=0", "compile=false"),
    *("checkpoint.keep=5", "quiet=true", "seed=3"),
]


def training_evaluation(run, step):
    """Seed, return and length of each episode of an evaluation, as eval.csv has them."""
    with (run / "eval.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) == step]
    return [(int(r["seed"]), float(r["episode_return"]), int(r["episode_length"])) for r in rows]


def rl_eval_episodes(folder):
    episodes = json.loads((folder / "evaluation.json").read_text())["episodes"]
    return [(e["seed"], e["return"], e["length"]) for e in episodes]


def evaluate(argv, here, greedy):
    """Episodes of an audited rl-eval, which writes only to its output folder."""
    words = [f"episodes={EPISODES}", "seed=10000", f"greedy={str(greedy).lower()}", "output=out"]
    shutil.rmtree(here / "out", ignore_errors=True)
    call = functools.partial(rl_eval.run, [*argv, *words])
    done = run_audited(call, here, [here / "out"], seconds=300)
    assert (done.exit_code, done.stderr, done.events) == (0, "", [])
    return rl_eval_episodes(here / "out")


def file_stats(folder):
    """Sizes and times, which any write changes."""
    found = [folder, *sorted(folder.rglob("*"))]
    return [(str(p), (s := p.stat()).st_size, s.st_mtime_ns, s.st_ctime_ns) for p in found]


@pytest.mark.parametrize("name", RUNS if FULL else QUICK)
def test_rl_eval_reproduces_the_evaluations_of_training(here, name):
    algo = name.split("-")[0]
    greedy = "eval.greedy=false" not in RUNS[name]
    assert rl_train.run([f"algo={algo}", "run_dir=run", *RUNS[name], *SETTINGS]) == 0
    at_300, at_600 = training_evaluation(here / "run", 300), training_evaluation(here / "run", 600)
    assert len(at_300) == len(at_600) == EPISODES
    assert at_300 != at_600 or algo == "dqn"  # the policy has changed between the two

    before = file_stats(here / "run")
    assert evaluate(["run", "checkpoint=600"], here, greedy) == at_600
    assert evaluate(["run", "checkpoint=300"], here, greedy) == at_300
    assert file_stats(here / "run") == before  # rl-eval changed no file

    (here / "else where").mkdir()
    moved = (here / "run").rename(here / "else where" / "it's, a=[run]")
    assert evaluate([str(moved.relative_to(here)), "checkpoint=600"], here, greedy) == at_600
    alone = shutil.copytree(moved / "checkpoints/000000300", here / "alone")
    assert evaluate([str(alone)], here, greedy) == at_300
    report(18, EPISODES, EPISODES, f"returns of {name}, also from a moved folder")


def give_up_root():
    """Make file modes restrict this process, while it can still read the source folder.

    As root: become the owner of the source folder; if that is root, drop all capabilities, without
    which root has the rights of any owner. The folder may be closed to other users (mode 0700).
    """
    owner = REPO.stat()
    if os.getuid() != 0:
        return
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
        return
    version_3, this_process = 0x20080522, 0
    header = (ctypes.c_uint32 * 2)(version_3, this_process)
    none = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; two words each
    assert ctypes.CDLL(None, use_errno=True).capset(header, none) == 0, ctypes.get_errno()


def test_rl_eval_works_on_a_read_only_folder(here):
    words = [*SETTINGS, "algo=reinforce", "env=cartpole", "run_dir=run"]
    assert rl_train.run(words) == 0
    expected = training_evaluation(here / "run", 600)
    out = here / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    for path in [*(here / "run").rglob("*"), here / "run"]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    closed = [p for p in (here, *here.parents) if not p.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode & 0o777 for path in closed}
    for path in closed:  # pytest creates its folders for the owner alone
        path.chmod(0o711)

    def restricted():
        give_up_root()
        with pytest.raises(PermissionError):
            (here / "run" / "x").write_text("")  # the modes take effect
        args = ["checkpoint=600", f"episodes={EPISODES}", "seed=10000", "output=out"]
        return rl_eval.run(["run", *args])

    done = run_audited(restricted, here, [out, here / "run" / "x"], seconds=300)
    for path, mode in modes.items():
        path.chmod(mode)
    for path in [here / "run", *(here / "run").rglob("*")]:
        path.chmod(0o755)
    assert (done.exit_code, done.stderr, done.events) == (0, "", [])
    assert rl_eval_episodes(out) == expected
    report(18, EPISODES, EPISODES, "returns from a read-only folder")
