"""B1: a run that is killed at any point and resumed is bit-identical to an uninterrupted run."""

from __future__ import annotations

import shutil
import zlib

import numpy as np
import pytest

from tests.bars.kill_points import (
    KILLED,
    call_at,
    kill_self,
    read_csv,
    run_digests,
    short_run,
    train_in_child,
    train_until_killed,
)
from tests.bars.results import report
from tests.conftest import FULL
from tests.training import test_resume  # noqa: F401 - its envs

KILLS = 25 if FULL else 6
CASES = [
    ("dqn_rainbow", "mountaincar"),
    ("dqn_sarsa", "cartpole"),
    ("ppo_by_episodes", "pendulum"),
] + (
    [
        (algo, env)
        for algo in ("dqn", "ppo", "reinforce")
        for env in ("mountaincar", "cartpole", "pendulum", "lunarlander")
        if (algo, env) != ("dqn", "pendulum")  # DQN has no continuous actions
    ]
    + [
        ("reinforce_mean", "cartpole"),
        ("dqn_by_episodes", "mountaincar"),
        ("ppo_float64", "custom"),
    ]
    if FULL
    else []
)
LAST_CALL = {"step": 90, "reset": 2, "update": 50, "evaluation": 80, "row": 2, "save": 14}
"""Kill point -> largest number of calls after which a run is killed."""


COMPILED = [
    ("dqn", "cartpole"), ("dqn", "mountaincar"), ("dqn", "lunarlander"),
    ("ppo", "cartpole"), ("ppo", "pendulum"), ("ppo", "lunarlander"),
]  # fmt: skip
LAST_CALL_COMPILED = {"reset": 2, "update": 3, "evaluation": 80, "row": 2, "save": 14}
"""The same for compiled runs, where one call of C takes many steps."""


def compiled_run(algo, env, folder):
    plain = short_run(algo, env, folder)
    return [a for a in plain if not a.startswith("compile=")] + ["compile=true"]


@pytest.mark.parametrize(("algo", "env"), CASES)
def test_killed_and_resumed_run_equals_uninterrupted_run(here, algo, env):
    kill_and_resume(here, algo, env, short_run, LAST_CALL)


@pytest.mark.skipif(not FULL, reason="compiles eight libraries")
@pytest.mark.parametrize(("algo", "env"), COMPILED)
def test_killed_and_resumed_compiled_run_equals_uninterrupted_run(here, algo, env):
    # VectorEnv.step is called for LunarLander only: the other environments are stepped in C
    steps = {"step": 90} if env == "lunarlander" else {}
    kill_and_resume(here, algo, env, compiled_run, LAST_CALL_COMPILED | steps)


def kill_and_resume(here, algo, env, arguments, last_call):
    """Kill and resume a run KILLS times at random points, then compare it with an uninterrupted run."""
    assert train_in_child(arguments(algo, env, here / "whole")) == 0
    rng = np.random.default_rng(zlib.crc32(f"{algo} {env}".encode()))
    command = arguments(algo, env, here / "killed")
    kills, missed = [], 0
    while len(kills) < KILLS:
        point = str(rng.choice(list(last_call)))
        count, before = int(rng.integers(1, last_call[point] + 1)), bool(rng.integers(2))
        code = train_in_child(
            command, lambda p=point, c=count, b=before: call_at(p, c, kill_self, b)
        )
        command = ["resume=killed", "quiet=true"]
        if code == 0:  # the run ended before that point: start it again
            missed += 1
            assert missed < 3 * KILLS, f"only {len(kills)} kills reached their point"
            assert run_digests(here / "killed") == run_digests(here / "whole"), kills
            command = arguments(algo, env, here / "killed")
            shutil.rmtree(here / "killed")
            continue
        assert code == KILLED, (point, count, code)
        kills.append((point, count, before))
        if not (here / "killed/config.yaml").exists():  # nothing to resume: start it again
            command = arguments(algo, env, here / "killed")
    assert train_in_child(command) == 0
    assert run_digests(here / "killed") == run_digests(here / "whole"), kills
    report(1, len(kills), KILLS, f"kills of {algo} on {env}, bit-identical")


@pytest.mark.parametrize(
    ("point", "after"), [("row", False), ("row", True), ("summary", False), ("summary", True)]
)
def test_run_killed_during_its_last_writes_resumes_exactly(here, point, after):
    """Killed at the evaluation of the last step, which is saved, or at the last row, which is not yet."""
    extra = ["log.every=100", "eval.every=0", "checkpoint.every=60"]
    drop = ("log.every=", "eval.every=", "checkpoint.every=")

    def command(name):
        plain = short_run("dqn_by_episodes", "mountaincar", here / name)
        return [*(a for a in plain if not a.startswith(drop)), *extra]

    assert train_in_child(command("whole")) == 0
    count = len(read_csv(here / "whole/metrics.csv")) if point == "row" else 4
    assert read_csv(here / "whole/metrics.csv")[-1]["step"] == "840"
    train_until_killed(command("r"), point, count, before=not after)
    assert train_in_child(["resume=r", "quiet=true"]) == 0
    assert run_digests(here / "r") == run_digests(here / "whole")


@pytest.mark.skipif(not FULL, reason="long; set RL_CLI_BARS=full")
def test_compiled_run_killed_in_an_update_resumes_exactly(here):
    def command(name):
        return compiled_run("dqn", "cartpole", here / name)

    assert train_in_child(command("whole")) == 0
    train_until_killed(command("killed"), "update", 20)
    assert train_in_child(["resume=killed", "quiet=true"]) == 0
    assert run_digests(here / "killed") == run_digests(here / "whole")


def test_resume_auto_starts_resumes_and_keeps_completed_runs(here, capfd):
    """A scheduler can repeat the same command until it exits with 0."""
    command = [*short_run("ppo", "cartpole", here / "r"), "resume=auto"]
    assert train_in_child(short_run("ppo", "cartpole", here / "whole")) == 0
    train_until_killed(command, "save", 1)  # before config.yaml is written
    assert not (here / "r/config.yaml").exists()
    train_until_killed(command, "step", 40)  # before the first checkpoint
    train_until_killed(command, "step", 300)
    assert train_in_child(command) == 0
    assert run_digests(here / "r") == run_digests(here / "whole")
    done = (here / "r/status.json").read_bytes()
    assert train_in_child(command) == 0
    assert (here / "r/status.json").read_bytes() == done
    capfd.readouterr()
    assert train_in_child([*command, "algo.gamma=0.9", "seed=4"]) == 2
    err = capfd.readouterr().err
    assert "algo.gamma is 0.99 in the run, 0.9 was given" in err
    assert "seed is 0 in the run, 4 was given" in err
    assert run_digests(here / "r") == run_digests(here / "whole")
