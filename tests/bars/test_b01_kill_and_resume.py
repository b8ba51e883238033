"""B1: killed anywhere and resumed, a run ends with the same bits as one that was never touched."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.bars.killing import FULL, arguments, at, die, digests, start, table

KILLS = 25 if FULL else 6
CASES = [
    ("dqn_by_episodes", "mountaincar"),
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
    + [("reinforce_mean", "cartpole")]
    if FULL
    else [("dqn", "mountaincar"), ("ppo", "mountaincar")]
)
WITHIN = {"step": 90, "reset": 2, "update": 50, "evaluation": 80, "row": 2, "save": 14}
"""Point -> calls of it until which a kill is placed; the first of them must come soon enough."""


COMPILED = [
    ("dqn", "cartpole"), ("dqn", "mountaincar"), ("dqn", "lunarlander"),
    ("ppo", "cartpole"), ("ppo", "pendulum"), ("ppo", "lunarlander"),
]  # fmt: skip
WITHIN_COMPILED = {"reset": 2, "update": 3, "evaluation": 80, "row": 2, "save": 14}
"""The same where many steps are taken in a row, most of them in one call of C."""


def compiled(algo, env, folder):
    plain = arguments(algo, env, folder)
    return [a for a in plain if not a.startswith("compile=")] + ["compile=true"]


@pytest.mark.parametrize(("algo", "env"), CASES)
def test_killed_and_resumed_is_as_never_touched(here, algo, env):
    kill_and_resume(here, algo, env, arguments, WITHIN)


@pytest.mark.skipif(not FULL, reason="compiles eight libraries")
@pytest.mark.parametrize(("algo", "env"), COMPILED)
def test_compiled_runs_are_as_exact(here, algo, env):
    stepped = {"step": 90} if env == "lunarlander" else {}  # the others take most of them in C
    kill_and_resume(here, algo, env, compiled, WITHIN_COMPILED | stepped)


def kill_and_resume(here, algo, env, arguments, within):
    """Again and again, at points by chance; then compare with a run that nothing happened to."""
    assert start(arguments(algo, env, here / "whole")) == 0
    chance = np.random.default_rng(zlib.crc32(f"{algo} {env}".encode()))
    command = arguments(algo, env, here / "killed")
    kills, missed = [], 0
    while len(kills) < KILLS:
        point = str(chance.choice(list(within)))
        count, before = int(chance.integers(1, within[point] + 1)), bool(chance.integers(2))
        code = start(command, lambda p=point, c=count, b=before: at(p, c, die, b))
        command = ["resume=killed", "quiet=true"]
        if code == 0:  # it had come to its end before that point: from the start once more
            missed += 1
            assert missed < 3 * KILLS, f"only {len(kills)} kills found their point"
            assert digests(here / "killed") == digests(here / "whole"), kills
            command = arguments(algo, env, here / "killed")
            _remove(here / "killed")
            continue
        assert code == -9, (point, count, code)
        kills.append((point, count, before))
        if not (here / "killed/config.yaml").exists():  # before it was anything: the same again
            command = arguments(algo, env, here / "killed")
    assert start(command) == 0
    assert digests(here / "killed") == digests(here / "whole"), kills
    print(f"B1 got/needed: {len(kills)}/{KILLS} kills of {algo} on {env}, the same bits")


@pytest.mark.parametrize(
    ("point", "after"), [("row", 0), ("row", 1), ("summary", 0), ("summary", 1)]
)
def test_killed_while_it_ends(here, point, after):
    """At an evaluation in the last step, which is saved, and the last row, which is not yet."""
    extra = ["log.every=100", "eval.every=0", "checkpoint.every=60"]
    drop = ("log.every=", "eval.every=", "checkpoint.every=")

    def command(name):
        plain = arguments("dqn_by_episodes", "mountaincar", here / name)
        return [*(a for a in plain if not a.startswith(drop)), *extra]

    assert start(command("whole")) == 0
    count = len(table(here / "whole/metrics.csv")) if point == "row" else 4
    assert table(here / "whole/metrics.csv")[-1]["step"] == "840"
    assert start(command("r"), lambda: at(point, count, die, before=after == 0)) == -9
    assert start(["resume=r", "quiet=true"]) == 0
    assert digests(here / "r") == digests(here / "whole")


def _remove(folder):
    import shutil

    shutil.rmtree(folder)


def test_a_compiled_run_is_as_exact(here):
    def command(name):
        return compiled("dqn", "cartpole", here / name)

    assert start(command("whole")) == 0
    assert start(command("killed"), lambda: at("update", 20, die)) == -9
    assert start(["resume=killed", "quiet=true"]) == 0
    assert digests(here / "killed") == digests(here / "whole")


def test_resume_auto_goes_on_begins_and_leaves_alone(here, capfd):
    """One command that a scheduler can repeat until it exits with 0."""
    command = [*arguments("ppo", "cartpole", here / "r"), "resume=auto"]
    assert start(arguments("ppo", "cartpole", here / "whole")) == 0
    assert start(command, lambda: at("save", 1, die)) == -9  # before it is known what the run is
    assert not (here / "r/config.yaml").exists()
    assert start(command, lambda: at("step", 40, die)) == -9  # before its first checkpoint
    assert start(command, lambda: at("step", 300, die)) == -9
    assert start(command) == 0
    assert digests(here / "r") == digests(here / "whole")
    done = (here / "r/status.json").read_bytes()
    assert start(command) == 0
    assert (here / "r/status.json").read_bytes() == done
    capfd.readouterr()
    assert start([*command, "algo.gamma=0.9", "seed=4"]) == 2
    said = capfd.readouterr().err
    assert "algo.gamma is 0.99 in the run, 0.9 was given" in said
    assert "seed is 0 in the run, 4 was given" in said
    assert digests(here / "r") == digests(here / "whole")
