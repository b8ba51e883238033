"""Choice between envs in this process and in worker processes."""

import time
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

from rl_cli import algos
from rl_cli.core.errors import BadInput
from rl_cli.core.processes import can_fork
from rl_cli.envs import vector_factory
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.vector_factory import StepTime, make_envs
from tests.algos.test_algorithms import env_config
from tests.config.test_config import compose
from tests.probe_envs import Probe


def config(workers):
    env = env_config("CartPole-v1", num_envs=2)
    return SimpleNamespace(env=env, seed=0, workers=workers, step_timeout=20.0)


def test_workers_choose_the_class():
    assert type(make_envs(config(0))) is VectorEnv
    envs = make_envs(config(2))
    envs.close()
    assert type(envs) is WorkerVectorEnv


def test_workers_raise_without_fork(monkeypatch):
    monkeypatch.delattr("os.fork")
    with pytest.raises(BadInput) as caught:
        make_envs(config(2))
    assert caught.value.where == "workers=2"
    assert "workers=0" in caught.value.fix
    assert type(make_envs(config(0))) is VectorEnv


@pytest.mark.parametrize(
    ("wall", "processor", "envs", "processors", "workers"),
    [
        (1e-4, 1e-4, 16, 4, 0),  # two messages would take about as long
        (5e-3, 5e-3, 16, 4, 4),
        (5e-3, 5e-3, 2, 4, 2),
        (5e-3, 5e-3, 16, 1, 0),
        (5e-3, 1e-4, 16, 1, 16),  # waits: more processes than processors
        (5e-3, 1e-4, 1000, 2, 256),
        (5e-3, 1e-4, 1, 2, 0),
    ],
)
def test_workers_by_the_time_of_a_step(wall, processor, envs, processors, workers):
    assert vector_factory.workers_for(StepTime(wall, processor), envs, processors) == workers


class Sleepy(Probe):
    """The state of the env and of np.random is part of the observation."""

    def step(self, action):
        time.sleep(2e-3)
        self.obs = np.array([np.random.random()], np.float32)  # noqa: NPY002
        return self.obs, 1.0, False, False, {}


gym.register("TestSleepy-v0", Sleepy)


@pytest.mark.skipif(not can_fork(), reason="this system has no fork")
def test_auto_gives_envs_that_wait_a_process_each_and_does_not_disturb_generators(capfd):
    def config(workers):
        words = ["env.id=TestSleepy-v0", "env.num_envs=2", f"workers={workers}"]
        return algos.build_run_config(compose("algo=ppo", "env=custom", "hparams=none", *words))

    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    measured = vector_factory._measured(config("auto"))
    assert measured.wall > 2e-3 > measured.processor
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    envs = make_envs(config("auto"))
    assert len(envs.workers) == 2
    assert "workers=auto: 2; a step takes" in capfd.readouterr().out
    other = make_envs(config(2))
    for each in (envs, other):
        each.reset()
    a, b = (e.step(np.zeros(2, np.int64))[0].next_obs.copy() for e in (envs, other))
    assert np.array_equal(a, b)
    for each in (envs, other):
        each.close()
