"""Sweeps of deterministic runs for the tests of launchers.

A run waits at `QUICK` steps of its process until `go_on` is called: what a test does to it happens while it runs,
however busy the machine is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.bars.kill_points import run_digests

STEPS, QUICK = 5_000, 1_300

ENV = f"""
import time
from pathlib import Path
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

GO = Path(__file__).with_name("go")
taken = 0

class Slow(CartPoleEnv):
    def step(self, action):
        global taken
        taken += 1
        if taken > {QUICK} and not GO.exists():
            time.sleep(0.1)
        return super().step(action)

gym.register("Slow-v0", Slow, max_episode_steps=200)
"""

WORDS = (
    *("-m", "algo=ppo", "env.id=slow:Slow-v0", f"total_timesteps={STEPS}", "eval.every=2500"),
    *("eval.episodes=1", "checkpoint.every=1000", "log.every=250", "video.episodes=0"),
    *("log.tensorboard=false", "compile=false", "display=plain"),
)

PROGRAM = "import sys; from rl_cli.cli.train import main; sys.argv[0] = 'rl-train'; main()"


def write_env(folder):
    (folder / "slow.py").write_text(ENV)


def go_on(folder="."):
    """Let all runs of a folder go on to their ends."""
    Path(folder, "go").touch()


def until(is_true, seconds=600.0):
    """Wait until a function returns something true. -> that."""
    deadline = time.monotonic() + seconds
    while not (found := is_true()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


class Sweep:
    """A process of rl-train, and the records of its folder in the current folder."""

    def __init__(self, folder, *words, env=None):
        self.folder, self.words, self.env = Path(folder), words, {**os.environ, **(env or {})}
        self.start()

    def start(self):
        self.log = Path(f"{self.folder}.log")
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    PROGRAM,
                    *WORDS,
                    f"hydra.sweep.dir={self.folder}",
                    *self.words,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def ended(self, code=0):
        """Wait for the process, which must return this code. -> what it printed."""
        assert self.process.wait(900) == code, self.log.read_text()
        return self.log.read_text()

    def record(self, number=0):
        try:
            return json.loads((self.folder / f"job_{number:04d}.json").read_text())
        except (OSError, ValueError):
            return {}

    def step(self, number=0):
        """Steps in the metrics of a job's run so far."""
        try:
            rows = (self.run(number) / "metrics.csv").read_text().splitlines()[1:]
        except OSError:
            return 0
        return int(rows[-1].split(",")[0]) if rows else 0

    def until_it_waits(self, number=0):
        """Until a job's run has a checkpoint, of step 1000, and waits soon after it."""
        until(lambda: self.step(number) >= 1250)

    def is_interrupted(self, number=0):
        """Whether a job was interrupted, also if it was started again since then."""
        states = [self.record(number).get("state"), *self.ends_before(number)]
        return "interrupted" in states

    def run(self, number=0):
        return Path(self.record(number).get("run_dir") or "none")

    def digests(self, number=0):
        return run_digests(self.run(number))

    def ends_before(self, number=0):
        """State of each earlier attempt."""
        return [one["state"] for one in self.record(number).get("earlier", [])]
