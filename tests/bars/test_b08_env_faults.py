"""B8: an env that raises, hangs or dies ends the run soon, by name, and leaves no process behind."""

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
from tests.bars.killing import arguments, at, digests, start
from tests.config.test_config import compose

TIMEOUT = 1.0


class Faulty(gym.Env):
    """Goes wrong in `where` once `born` files lie in `marks`: the n-th env made is the n-th file."""

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
FAULTY_DRAW = int(np.random.default_rng(SEEDS[2]).integers(2**31))  # of env 2 alone
gym.register("Faulty-v0", Faulty)


def _config(**kwargs):
    config = compose("algo=ppo", "env=custom", "env.id=Faulty-v0", "hparams=none", "env.num_envs=4")
    return build(EnvConfig, config["env"] | {"kwargs": kwargs}, "env")


def _children():
    tasks = Path(f"/proc/{os.getpid()}/task")
    return {c for task in tasks.iterdir() for c in (task / "children").read_text().split()}


@pytest.mark.parametrize(
    ("where", "how", "said", "env"),
    [
        ("step", "raise", "the env raised RuntimeError: the wheel came off", 2),
        ("reset", "raise", "the env raised RuntimeError: the wheel came off", 0),
        ("step", "kill", "the process of the env was killed by SIGKILL", 2),
        ("step", "hang", "the env has not answered for 1 s", 2),
        ("step", "stop", "the env has not answered for 1 s", 2),
        ("reset", "hang", "the env has not answered for 1 s", 0),
    ],
)
def test_in_processes_of_their_own(where, how, said, env):
    before = _children()
    envs = WorkerVectorEnv(_config(where=where, how=how), SEEDS, 2, TIMEOUT)
    assert len(_children() - before) == 2
    begun = time.monotonic()
    with pytest.raises(EnvFault) as caught:
        _steps(envs, 40)
    assert time.monotonic() - begun < TIMEOUT + 5
    assert said in caught.value.what
    assert f"env={env}" in caught.value.where
    assert _children() == before
    print(f"B8 got/needed: 1/1 {how} in {where}, in a process")


def _steps(envs, count):
    envs.reset()
    for _ in range(count):
        envs.step(np.zeros(4, np.int64))


def test_a_process_killed_while_idle_and_one_that_cannot_make_its_env(monkeypatch):
    before = _children()
    envs = WorkerVectorEnv(_config(), SEEDS, 2, TIMEOUT)
    envs.reset()
    os.kill(envs.workers[1].process.pid, signal.SIGKILL)
    with pytest.raises(EnvFault, match="killed by SIGKILL") as caught:
        _steps(envs, 1)
    assert "env=2" in caught.value.where
    plain = WorkerVectorEnv._make_envs

    def make(self, cfg, count):
        made = plain(self, cfg, count)
        monkeypatch.setenv("FAULTY_INIT", "yes")  # from here on: in the processes
        return made

    monkeypatch.setattr(WorkerVectorEnv, "_make_envs", make)
    with pytest.raises(EnvFault, match="wheel came off"):
        WorkerVectorEnv(_config(where="init"), SEEDS, 2, TIMEOUT)
    with pytest.raises(BadInput, match="wheel came off"):  # the ordinary case: refused at the start
        VectorEnv(_config(where="init"), SEEDS)
    assert _children() == before


@pytest.mark.parametrize(("where", "how"), [("step", "raise"), ("step", "hang"), ("reset", "hang")])
def test_a_run_without_processes_is_told_as_well(here, capfd, where, how):
    begun = time.monotonic()
    code = start(
        [
            "algo=ppo", "env=custom", "env.id=Faulty-v0", "hparams=none", "env.num_envs=1",
            f"env.kwargs.where={where}", f"env.kwargs.how={how}", f"step_timeout={TIMEOUT}",
            "quiet=true", "log.tensorboard=false", "video.episodes=0", "run_dir=r",
            "total_timesteps=200", "eval.every=0", "eval.episodes=1", "checkpoint.every=10",
        ],
        _every_draw_is_faulty,
    )  # fmt: skip
    said = capfd.readouterr().err
    assert code == 1
    assert time.monotonic() - begun < TIMEOUT + 25  # start-up and all
    assert ("wheel came off" if how == "raise" else "not answered for 1 s") in said
    assert f"step={19 if where == 'step' else 29}, env=0" in said
    assert "kept: checkpoint 10 in r" in said or "kept: checkpoint 20 in r" in said
    assert "Traceback" not in said


def _every_draw_is_faulty():
    plain = Faulty.reset

    def reset(self, **kwargs):
        result = plain(self, **kwargs)
        self.faulty = True
        return result

    Faulty.reset = reset


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("algo", ["ppo"])
def test_the_same_bits_in_any_number_of_processes(here, algo, workers):
    """Killed half-way, and gone on with in another number of them."""
    three = ["env.num_envs=3"]
    plain = [a for a in arguments(algo, "lunarlander", here / "one") if "num_envs" not in a]
    assert start(plain + three) == 0
    command = [a for a in plain if "run_dir" not in a] + [*three, "run_dir=many"]
    dies = lambda: at("step", 137, lambda: os.kill(os.getpid(), signal.SIGKILL))  # noqa: E731
    assert start([*command, f"workers={workers}"], dies) == -9
    assert start(["resume=many", "quiet=true", f"workers={workers - 1}"]) == 0
    assert digests(here / "many") == digests(here / "one")


def test_processes_end_with_a_killed_parent(here):
    """SIGKILL of the run takes its processes along."""
    told = here / "pids"

    def arrange():
        plain = WorkerVectorEnv.reset

        def reset(self):
            told.write_text(" ".join(str(w.process.pid) for w in self.workers))
            return plain(self)

        WorkerVectorEnv.reset = reset
        at("step", 20, lambda: os.kill(os.getpid(), signal.SIGKILL))

    assert start([*arguments("ppo", "cartpole", here / "r"), "workers=2"], arrange) == -9
    pids = told.read_text().split()
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
