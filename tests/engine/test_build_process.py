"""Builds run in a child process; a signal to the run ends them at once, and the run resumes exactly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from rl_cli.core.errors import UpdateInterrupted
from rl_cli.engine import build_process
from tests.conftest import FULL
from tests.engine.test_compiler import inputs, make, needs_compiler, no_faster


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(condition, seconds=400.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def test_notes_and_failures_of_the_job_reach_the_run():
    notes = []

    def job(notify):
        notify("compiling")
        raise OSError("the disk is full")

    with pytest.raises((RuntimeError, OSError), match="the disk is full"):
        build_process.run(job, notes.append, lambda: False)
    assert notes == ["compiling"]


def test_job_runs_in_this_process_where_fork_is_missing(monkeypatch):
    monkeypatch.delattr(os, "fork")
    ran = []
    build_process.run(lambda notify: ran.append(os.getpid()), print, lambda: False)
    assert ran == [os.getpid()]


def test_killed_job_is_reported():
    with pytest.raises(RuntimeError, match="killed by SIGKILL"):
        build_process.run(lambda _: os.kill(os.getpid(), signal.SIGKILL), print, lambda: False)


def test_interruption_kills_the_job_and_its_processes(tmp_path):
    """Within a second, although the job and its process ignore the signals of a terminal."""
    file = tmp_path / "pid"

    def job(_):
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100)"
        child = subprocess.Popen([sys.executable, "-c", code])
        file.write_text(str(child.pid))
        child.wait()

    with pytest.raises(UpdateInterrupted):
        build_process.run(job, print, lambda: file.exists() and file.read_text() != "")
    wait_for(lambda: not alive(int(file.read_text())), 5)


def test_interrupted_build_undoes_the_update():
    """PPO compiles a second shape after its first minibatches: parameters, moments and count go back."""
    learner, compiled = make("dqn").learner, []
    learner.update(*inputs("dqn"), learning_rate=1e-2)
    before = [tensor.clone() for tensor in learner._state]

    def compiler(function, arguments, changing):
        compiled.append(1)
        if len(compiled) == 2:
            raise UpdateInterrupted
        return no_faster(function, arguments, changing)

    learner = make("dqn").learner
    learner.update(*inputs("dqn"), learning_rate=1e-2)
    learner.compile_with(compiler)
    with pytest.raises(UpdateInterrupted), learner.undo_if_interrupted():  # noqa: PT012
        learner.update(*inputs("dqn", batch=8), learning_rate=1e-2)
        assert learner.updates == 2
        learner.update(*inputs("dqn", batch=9), learning_rate=1e-2)
    assert learner.updates == 1
    assert all(map(np.array_equal, before, learner._state))


def test_build_that_cannot_be_undone_continues_uncompiled():
    def compiler(function, arguments, changing):
        raise UpdateInterrupted

    learner = make("dqn").learner
    learner.compile_with(compiler, lambda *_: None)
    learner.update(*inputs("dqn"), learning_rate=1e-2)
    assert (learner.updates, learner.is_compiled, learner.native) == (1, False, None)


SLOW = """#!{python}
import os, sys, time
if any(word.endswith("step.cpp") for word in sys.argv):
    open({started!r}, "a").write(f"{{os.getpid()}}\\n")
    time.sleep(100)
os.execvp("g++", ["g++", *sys.argv[1:]])
"""
RUN = [
    "env=cartpole", "hparams=none", "compile=true", "eval.every=200", "eval.episodes=2", "log.every=50",
    "checkpoint.every=0", "video.episodes=0", "log.tensorboard=false", "quiet=true", "total_timesteps=600",
]  # fmt: skip
ALGO = {
    # the first update of DQN is at step 100, a multiple of log.every
    "dqn": ["algo=dqn", "algo.learning_starts=96", "algo.hidden_sizes=[16]", "algo.train_every=4"],
    # 50 rows: minibatches of 32 and 18
    "ppo": [
        "algo=ppo",
        "algo.rollout_length=50",
        "algo.minibatch_size=32",
        "algo.hidden_sizes=[16]",
    ],
}


def start(folder, words, env):
    code = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, *words], cwd=folder, env={**os.environ, **env},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def interrupt_while_compiling(here, tmp_path, algo, send):
    """-> the exit code, seconds from the signal to the exit, whether the compiler still runs."""
    started = tmp_path / "started"
    slow = tmp_path / "slow-c++"
    slow.write_text(SLOW.format(python=sys.executable, started=str(started)))
    slow.chmod(0o755)
    env = {"CXX": str(slow), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = start(here, [*ALGO[algo], *RUN, "run_dir=run"], env)
    wait_for(lambda: started.exists() and started.read_text().endswith("\n"))
    begin = time.monotonic()
    send(process)
    _, errors = process.communicate(timeout=200)
    seconds = time.monotonic() - begin
    (pid,) = started.read_text().split()
    wait_for(lambda: not alive(int(pid)), 5)
    assert "Traceback" not in errors
    return process.returncode, seconds


def rows(folder):
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    kept = [i for i, name in enumerate(lines[0]) if not name.startswith("time/")]
    return [[line[i] for i in kept] for line in lines]


@needs_compiler
@pytest.mark.parametrize(
    ("algo", "name", "step"), [("dqn", "SIGINT", 100), ("ppo", "SIGTERM", 50)][: 1 + FULL]
)
def test_signal_while_compiling_saves_and_exits_within_two_seconds(
    here, tmp_path, algo, name, step
):
    """The resumed run equals one that was not interrupted: weights, metrics.csv, eval.csv."""
    number = signal.Signals[name]
    code, seconds = interrupt_while_compiling(
        here, tmp_path, algo, lambda process: process.send_signal(number)
    )
    assert code == 128 + number
    assert seconds < 2 * max(1.0, os.getloadavg()[0] / 2)
    status = json.loads((here / "run/status.json").read_text())
    assert (status["state"], status["step"]) == ("interrupted", step)
    for words in ([*ALGO[algo], *RUN, "run_dir=whole"], ["resume=run"]):
        process = start(here, words, {})
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    one, two = (
        load_file(here / run / "checkpoints/000000600/policy.safetensors")
        for run in ("whole", "run")
    )
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert rows(here / "run") == rows(here / "whole")
    assert (here / "run/eval.csv").read_text() == (here / "whole/eval.csv").read_text()
    status = json.loads((here / "run/status.json").read_text())
    assert [entry["exact"] for entry in status["resumed"]] == [True]


@needs_compiler
def test_second_signal_while_compiling_exits_at_once(here, tmp_path):
    def twice(process):
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)

    code, seconds = interrupt_while_compiling(here, tmp_path, "dqn", twice)
    # the second may arrive before Python has handled the first, or after the run has ended
    assert code in (-signal.SIGTERM, 128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert seconds < 2 * max(1.0, os.getloadavg()[0] / 2)
