"""Choice between envs in this process and in worker processes."""

from types import SimpleNamespace

import pytest

from rl_cli.core.errors import BadInput
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.vector_factory import make_envs
from tests.algos.test_algorithms import env_config


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
