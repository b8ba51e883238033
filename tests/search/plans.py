"""Plans of searches whose runs are written to disk instead of trained."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
from pathlib import Path

import yaml

from rl_cli.config.labels import Labels
from rl_cli.config.schema import build
from rl_cli.config.search import SearchConfig
from rl_cli.search.plan import Plan
from rl_cli.search.space import Dimension
from rl_cli.storage import folder_lock, run_folder
from rl_cli.storage.folder_lock import Owner
from rl_cli.sweep.executor import Ended, Executor
from tests.conftest import REPO

SHIPPED = yaml.safe_load((REPO / "conf/search.yaml").read_text())

SPACE = {
    "algo.learning_rate": Dimension("algo.learning_rate", "log", 1e-5, 1e-1),
    "algo.gamma": Dimension("algo.gamma", "logit", 0.9, 0.999),
    "algo.n_step": Dimension("algo.n_step", "int", 1, 5),
    "algo.hidden_sizes": Dimension("algo.hidden_sizes", "categorical", choices=([8], [8, 8])),
}
DEFAULTS = {
    "algo.learning_rate": 1e-3,
    "algo.gamma": 0.99,
    "algo.n_step": 1,
    "algo.hidden_sizes": [8, 8],
}
STEPS = (100, 200, 300)


def make_plan(seed=0, jobs=1, name="s", threshold=None, **cfg):
    """A plan whose runs have a configuration of just their keys."""

    def configure(values):
        return {
            "values": {**DEFAULTS, **values},
            "checkpoint": {"keep_buffer": True},
            "total_timesteps": 300,
        }

    return Plan(
        name=name,
        folder=Path("runs/searches") / name,
        cfg=build(SearchConfig, SHIPPED | {"startup_trials": 3} | cfg),
        seed=seed,
        jobs=jobs,
        space=SPACE,
        defaults=DEFAULTS,
        threshold=threshold,
        config=configure({}),
        configure=configure,
        labels=Labels("dqn", "cartpole"),
    )


class HandWritten(Executor):
    """Writes run folders: one evaluation of each run per call of `wait`.

    Args:
        returns: (values of keys, seed) -> mean returns at STEPS; an int: the exit code of a run that fails.

    """

    def __init__(self, returns, size=2):
        self.returns, self.size = returns, size
        self.running, self.over, self.log = {}, [], []
        self.stop_after = None  # number of started runs after which a stop signal arrives

    def free(self):
        return self.size - len(self.running) - len(self.over)

    def start(self, number, task):
        self.log.append(task)
        found = self.returns(task.config.get("values", task.config), task.config["seed"])
        write(Path(task.folder), {}, task.config["seed"], "running")
        if isinstance(found, int):
            leave_lock(Path(task.folder))
            self.over.append(Ended(number, found))
        else:
            self.running[number] = task, list(zip(STEPS, found, strict=True)), {}

    def wait(self, seconds):
        if self.stop_after is not None and len(self.log) > self.stop_after:
            self.stop_after = None
            os.kill(os.getpid(), signal.SIGINT)
            return []
        for number, (task, left, shown) in list(self.running.items()):
            state = "running"
            if left:
                step, value = left.pop(0)
                shown[step] = value
            else:
                state = "completed"
                self.over.append(Ended(number, 0))
                del self.running[number]
            write(Path(task.folder), shown, task.config["seed"], state)
        ended, self.over = self.over, []
        return ended

    def send(self, number, signum):
        if number in self.running:
            task, _, _ = self.running.pop(number)
            run_folder.write_status(Path(task.folder), state="interrupted", reason="x", step=100)
            self.over.append(Ended(number, 128 + signum))


def leave_lock(folder):
    """The lock files of a process that was killed."""
    gone = Owner(1 << 30, socket.gethostname(), "", None)
    (folder / folder_lock.NAME).touch()
    (folder / folder_lock.OWNER).write_text(json.dumps(dataclasses.asdict(gone)))


def write(folder, returns, seed, state):
    folder.mkdir(parents=True, exist_ok=True)
    text = f"labels: [dqn, cartpole]\nseed: {seed}\nalgo: {{name: dqn}}\n"
    (folder / "config.yaml").write_text(text)
    status = {"state": state, "reason": "budget", "step": max(returns, default=0), "seconds": 3.0}
    (folder / "status.json").write_text(json.dumps(status))
    rows = "".join(f"{step},0,0,{value!r},10\n" for step, value in returns.items())
    (folder / "eval.csv").write_text(f"step,episode,seed,episode_return,episode_length\n{rows}")
