"""B9: a signal ends the run at the next step with a checkpoint and the exit code 128 + signal."""

from __future__ import annotations

import os
import shutil
import signal
import time

import numpy as np
import pytest

from rl_cli.core import stop_signals, terminal
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.run_folder import read_status
from tests.bars.kill_points import (
    ALGO_ARGS,
    ENV_OF,
    call_at,
    run_digests,
    short_run,
    train_in_child,
)
from tests.bars.results import report
from tests.conftest import FULL

EACH = 10 if FULL else 1
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("algo", list(ALGO_ARGS) if FULL else ["ppo"])
def test_signal_saves_a_checkpoint_and_ends_the_run(here, algo, name):
    number = signal.Signals[name]
    env = ENV_OF.get(algo, "cartpole")
    assert train_in_child(short_run(algo, env, here / "whole")) == 0
    rng = np.random.default_rng([number, len(algo)])
    for _ in range(EACH):
        steps = int(rng.integers(5, 400))
        sent = here / "sent"

        def send(sent=sent):
            sent.touch()
            os.kill(os.getpid(), number)

        command = short_run(algo, env, here / "r")
        assert (
            train_in_child(command, lambda n=steps, f=send: call_at("step", n, f)) == 128 + number
        )
        assert time.time() - sent.stat().st_mtime < 5
        saved = checkpoint_reader.read_manifest(checkpoint_reader.find(here / "r")).step
        # two envs: the current step is completed, no further one is taken
        assert saved == 2 * steps
        assert train_in_child(["resume=r", "quiet=true"]) == 0
        assert run_digests(here / "r") == run_digests(here / "whole")
        shutil.rmtree(here / "r")
    report(9, EACH, EACH, f"{name} at random steps of {algo}")


def without_output():
    """Standard output and error become pipes whose reader is gone, as after `| tee` was killed."""
    reader, writer = os.pipe()
    os.close(reader)
    for fd in (1, 2):
        os.dup2(writer, fd)
    terminal.protect()


HANGUPS = [
    ("SIGHUP",),
    ("SIGHUP", "SIGHUP", "SIGHUP"),
    ("SIGTERM", "SIGTERM", "SIGHUP"),  # one of a service manager, one that the parent sends on
    ("SIGINT", "SIGHUP"),
]


@pytest.mark.parametrize("names", HANGUPS if FULL else HANGUPS[1:3])
@pytest.mark.parametrize("quiet", ["true", "false"] if FULL else ["false"])
def test_lost_terminal_ends_the_run_with_a_checkpoint(here, names, quiet):
    """The kernel and the shell send SIGHUP, both to the run; its output fails from then on."""

    def prepare():
        def send():
            for name in names:
                os.kill(os.getpid(), signal.Signals[name])

        without_output()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
        call_at("step", 150, send)

    command = [*short_run("dqn", "cartpole", here / "r")[:-2], f"quiet={quiet}", "run_dir=r"]
    code = 128 + signal.Signals[names[0]]
    assert train_in_child(command, prepare) == code
    status = read_status(here / "r")
    assert [status[key] for key in ("state", "reason", "exit_code")] == [
        "interrupted",
        names[0],
        code,
    ]
    assert checkpoint_reader.read_manifest(checkpoint_reader.find(here / "r")).step == 300
    report(9, 1, 1, f"{' and '.join(names)} without output")


def test_ignored_hangup_and_lost_output_change_nothing(here):
    """As under nohup, with a log on a disk that is full."""

    def prepare():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        without_output()
        call_at("step", 150, lambda: os.kill(os.getpid(), signal.SIGHUP))

    command = [*short_run("ppo", "cartpole", here / "r")[:-2], "run_dir=r"]
    assert train_in_child(command, prepare) == 0
    assert read_status(here / "r")["state"] == "completed"


def test_signal_whose_exception_was_caught_before_training_stops_the_run(here):
    command = short_run("ppo", "cartpole", here / "r")
    assert train_in_child(command, lambda: stop_signals.record(signal.SIGTERM)) == 143
    assert read_status(here / "r")["reason"] == "SIGTERM"
    assert checkpoint_reader.read_manifest(checkpoint_reader.find(here / "r")).step == 0


def test_second_signal_ends_the_run_without_a_checkpoint(here):
    def twice():
        def send():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

        call_at("step", 150, send)

    started = time.monotonic()
    assert train_in_child(short_run("dqn", "cartpole", here / "r"), twice) == 130
    assert time.monotonic() - started < 30
    path = checkpoint_reader.find(here / "r")
    # checkpoint.every is 120; none was saved at the signal, step 300
    assert checkpoint_reader.read_manifest(path).step == 240
    checkpoint_reader.read_state(path, checkpoint_reader.read_manifest(path))
    status = read_status(here / "r")
    assert [status[key] for key in ("state", "reason", "exit_code")] == [
        "interrupted",
        "SIGINT",
        130,
    ]
