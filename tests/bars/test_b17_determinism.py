"""B17: the seed determines the result: bit-identical in every process, with any logging or evaluation settings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.bars.kill_points import ALGO_ARGS, ENV_OF, run_digests, train_in_child
from tests.bars.results import report
from tests.conftest import FULL

PROCESSES = 3 if FULL else 2
STEPS = 300 if FULL else 120
BASE = [
    *(f"total_timesteps={STEPS}", "hparams=none", "log.every=40", "eval.every=100"),
    *("eval.episodes=2", "checkpoint.every=0", "video.episodes=0", "log.tensorboard=false"),
    *("quiet=true", "compile=false"),
    "env.max_episode_steps=30",  # short, so that updates by episodes happen too
]
MANY = ["env.num_envs=3", "env.normalize_obs=true", "env.normalize_reward=true"]
CASES = [(algo, how) for algo in ALGO_ARGS for how in ([], MANY)] if FULL else [("dqn", MANY)]
TOGGLES = {
    "eval": ["eval.every=30", "eval.greedy=false", "eval.seed=7"],
    "video": ["video.episodes=1", "video.every=60"],
    "TensorBoard": ["log.tensorboard=true", "log.every=7"],
    "checkpoints": ["checkpoint.every=20", "checkpoint.keep=1"],
    "verbosity": ["quiet=false"],
}
WITH_OTHER_GLOBAL_STATE = """
import random, sys
import numpy, torch
n = int(sys.argv[1])
random.seed(n), numpy.random.seed(n), torch.manual_seed(n)
[random.random() + numpy.random.rand() + torch.rand(1).item() for _ in range(n)]
from rl_cli.cli.train import run
sys.exit(run(sys.argv[2:]))
"""


def arguments(algo, how, folder, seed=3):
    env = ENV_OF.get(algo, "cartpole")
    return [*ALGO_ARGS[algo], f"env={env}", *BASE, *how, f"seed={seed}", f"run_dir={folder}"]


def training_digests(folder):
    """Digests of the result of training: weights, optimizer, replay, random streams, envs, statistics."""
    found = run_digests(folder)
    return {k: v for k, v in found.items() if k.startswith(("policy/", "state/algo", "state/envs"))}


@pytest.mark.parametrize(
    ("algo", "how"), CASES, ids=lambda v: v if isinstance(v, str) else str(len(v))
)
def test_same_seed_gives_the_same_bits_in_new_processes(here, algo, how):
    """Processes with different global random state and string hashes are equal; another seed differs."""
    numbers = range(1, PROCESSES + 1)
    for n in numbers:
        args = arguments(algo, how, here / str(n))
        environment = {**os.environ, "PYTHONHASHSEED": str(n)}
        subprocess.run(
            [sys.executable, "-c", WITH_OTHER_GLOBAL_STATE, str(n), *args],
            check=True,
            cwd=here,
            env=environment,
        )
    found = [run_digests(here / str(n)) for n in numbers]
    assert train_in_child(arguments(algo, how, here / "other", seed=4)) == 0
    other = run_digests(here / "other")
    equal = sum(f == found[0] for f in found)
    report(17, equal, PROCESSES, f"processes bit-identical, {algo}, {len(how)} extra settings")
    assert equal == PROCESSES
    weights = [k for k in other if k.startswith("policy/")]
    assert weights
    assert all(other[k] != found[0][k] for k in weights if "weight" in k)


@pytest.mark.parametrize("algo", ALGO_ARGS if FULL else ["dqn"])
def test_logging_and_evaluation_settings_change_no_weight(here, algo):
    """Each of five settings alone; another learning rate does change the result."""
    how = MANY if FULL else MANY[:1]
    assert train_in_child(arguments(algo, how, here / "plain")) == 0
    plain = training_digests(here / "plain")
    assert {"state/algo", "state/envs"} < plain.keys()
    changed = []
    for name, extra in TOGGLES.items():
        assert train_in_child(arguments(algo, [*how, *extra], here / f"with {name}")) == 0
        if training_digests(here / f"with {name}") != plain:
            changed.append(name)
    assert train_in_child(arguments(algo, [*how, "algo.learning_rate=2e-3"], here / "changed")) == 0
    report(17, len(TOGGLES) - len(changed), len(TOGGLES), f"toggles, {algo}")
    assert not changed
    assert training_digests(here / "changed") != plain
