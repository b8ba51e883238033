"""B8: an env that raises, hangs or dies ends the run within the time limit; the error names it; no process remains."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.errors import BadInput, EnvFault
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv
from tests.bars.kill_points import (
    KILLED,
    call_at,
    kill_self,
    run_digests,
    short_run,
    train_in_child,
    train_until_killed,
)
from tests.bars.results import report
from tests.config.test_config import compose

TIMEOUT = 1.0


class Faulty(gym.Env):
    """Fails in `where`, in the way `how`. In `step` only the env fails whose seed draws FAULTY_DRAW."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = spaces.Discrete(2)
    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, where="", how="raise", render_mode=None):
        self.where, self.how, self.age, self.faulty = where, how, 0, False
        self.render_mode = render_mode
        if where == "init" and os.environ.get("FAULTY_INIT"):
            self._fault()

    def _fault(self):
        if self.how == "raise":
            raise RuntimeError("the wheel came off")
        if self.how == "hang":
            while True:
                time.sleep(0.01)
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[self.how])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.where == "reset" and self.age:
            self._fault()
        self.faulty = bool(self.np_random.integers(2**31) == FAULTY_DRAW)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.age += 1
        if self.where == "step" and self.age == 20 and self.faulty:
            self._fault()
        return np.zeros(2, np.float32), 1.0, self.age % 30 == 0, False, {}


SEEDS = [3, 4, 5, 6]
FAULTY_DRAW = int(np.random.default_rng(SEEDS[2]).integers(2**31))  # of env 2 only
gym.register("Faulty-v0", Faulty)


def _config(**kwargs):
    config = compose("algo=ppo", "env=custom", "env.id=Faulty-v0", "hparams=none", "env.num_envs=4")
    return build(EnvConfig, config["env"] | {"kwargs": kwargs}, "env")


def _children():
    tasks = Path(f"/proc/{os.getpid()}/task")
    return {c for task in tasks.iterdir() for c in (task / "children").read_text().split()}


@pytest.mark.parametrize(
    ("where", "how", "message", "env"),
    [
        ("step", "raise", "the env raised RuntimeError: the wheel came off", 2),
        ("reset", "raise", "the env raised RuntimeError: the wheel came off", 0),
        ("step", "kill", "the process of the env was killed by SIGKILL", 2),
        ("step", "hang", "the env has not responded for 1 s", 2),
        ("step", "stop", "the env has not responded for 1 s", 2),
        ("reset", "hang", "the env has not responded for 1 s", 0),
    ],
)
def test_fault_in_a_worker_process_is_reported(where, how, message, env):
    before = _children()
    envs = WorkerVectorEnv(_config(where=where, how=how), SEEDS, 2, TIMEOUT)
    assert len(_children() - before) == 2
    start = time.monotonic()
    with pytest.raises(EnvFault) as caught:
        _steps(envs, 40)
    assert time.monotonic() - start < TIMEOUT + 5
    assert message in caught.value.what
    assert f"env={env}" in caught.value.where
    assert _children() == before
    report(8, 1, 1, f"{how} in {where}, in a worker process")


def _steps(envs, count):
    envs.reset()
    for _ in range(count):
        envs.step(np.zeros(4, np.int64))


def test_idle_killed_worker_and_failing_constructor_are_reported(monkeypatch):
    before = _children()
    envs = WorkerVectorEnv(_config(), SEEDS, 2, TIMEOUT)
    envs.reset()
    os.kill(envs.workers[1].process.pid, signal.SIGKILL)
    with pytest.raises(EnvFault, match="killed by SIGKILL") as caught:
        _steps(envs, 1)
    assert "env=2" in caught.value.where
    original = WorkerVectorEnv._make_envs

    def make(self, cfg, count):
        made = original(self, cfg, count)
        # fails in the workers only, which start after this
        monkeypatch.setenv("FAULTY_INIT", "yes")
        return made

    monkeypatch.setattr(WorkerVectorEnv, "_make_envs", make)
    with pytest.raises(EnvFault, match="wheel came off"):
        WorkerVectorEnv(_config(where="init"), SEEDS, 2, TIMEOUT)
    # without workers the constructor is refused as bad input
    with pytest.raises(BadInput, match="wheel came off"):
        VectorEnv(_config(where="init"), SEEDS)
    assert _children() == before


@pytest.mark.parametrize(("where", "how"), [("step", "raise"), ("step", "hang"), ("reset", "hang")])
def test_fault_without_workers_ends_the_run(here, capfd, where, how):
    start = time.monotonic()
    code = train_in_child(
        [
            "algo=ppo", "env=custom", "env.id=Faulty-v0", "hparams=none", "env.num_envs=1",
            f"env.kwargs.where={where}", f"env.kwargs.how={how}", f"step_timeout={TIMEOUT}",
            "quiet=true", "log.tensorboard=false", "video.episodes=0", "run_dir=r",
            "total_timesteps=200", "eval.every=0", "eval.episodes=1", "checkpoint.every=10",
        ],
        make_every_env_faulty,
    )  # fmt: skip
    err = capfd.readouterr().err
    assert code == 1
    assert time.monotonic() - start < TIMEOUT + 25  # with start-up
    assert ("wheel came off" if how == "raise" else "not responded for 1 s") in err
    assert f"step={19 if where == 'step' else 29}, env=0" in err
    assert "kept: checkpoint 10 in r" in err or "kept: checkpoint 20 in r" in err
    assert "Traceback" not in err


def make_every_env_faulty():
    original = Faulty.reset

    def reset(self, **kwargs):
        result = original(self, **kwargs)
        self.faulty = True
        return result

    Faulty.reset = reset


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("algo", ["ppo"])
def test_number_of_workers_does_not_change_results(here, algo, workers):
    """Also when a killed run is resumed with another number of workers."""
    three = ["env.num_envs=3"]
    plain = [a for a in short_run(algo, "lunarlander", here / "one") if "num_envs" not in a]
    assert train_in_child(plain + three) == 0
    command = [a for a in plain if "run_dir" not in a] + [*three, "run_dir=many"]
    train_until_killed([*command, f"workers={workers}"], "step", 137)
    assert train_in_child(["resume=many", "quiet=true", f"workers={workers - 1}"]) == 0
    assert run_digests(here / "many") == run_digests(here / "one")


def test_workers_end_when_the_run_is_killed(here):
    pid_file = here / "pids"

    def prepare():
        original = WorkerVectorEnv.reset

        def reset(self):
            pid_file.write_text(" ".join(str(w.process.pid) for w in self.workers))
            return original(self)

        WorkerVectorEnv.reset = reset
        call_at("step", 20, kill_self)

    assert (
        train_in_child([*short_run("ppo", "cartpole", here / "r"), "workers=2"], prepare) == KILLED
    )
    pids = pid_file.read_text().split()
    assert len(pids) == 2
    deadline = time.monotonic() + 5
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
