"""Envs whose simulator is a process of its own run in workers and in videos in the background."""

import multiprocessing

import gymnasium as gym
import numpy as np
import pytest

from rl_cli.core import processes
from rl_cli.envs.subprocess_vector import WorkerVectorEnv
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation import video
from rl_cli.evaluation.background import Background
from tests.algos.test_algorithms import env_config
from tests.probe_envs import Probe

pytestmark = pytest.mark.skipif(not processes.can_fork(), reason="this system has no fork")


def simulate(pipe):
    """Counts the steps."""
    count = 0
    while pipe.recv() == "step":
        count += 1
        pipe.send(count)


class Simulated(Probe):
    """The reward is the number of steps, counted by another process."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=simulate, args=(theirs,))
        self.process.start()

    def step(self, action):
        self.pipe.send("step")
        count = self.pipe.recv()
        return self.obs, float(count), count % 4 == 0, False, {}

    def render(self):
        return np.full((64, 64, 3), 100, np.uint8)

    def close(self):
        self.process.terminate()
        self.process.join()


gym.register("TestSimulated-v0", Simulated)


def test_workers_step_it_like_this_process():
    cfg, action = env_config("TestSimulated-v0", num_envs=2), np.zeros(2, np.int64)
    results = []
    for envs in (VectorEnv(cfg, [1, 2]), WorkerVectorEnv(cfg, [1, 2], 2, 20.0)):
        envs.reset()
        results.append([envs.step(action)[0].reward.tolist() for _ in range(6)])
        envs.close()
    assert results[0] == results[1] == [[float(t)] * 2 for t in range(1, 7)]


def test_it_is_filmed_in_the_background(tmp_path):
    path = tmp_path / "video.mp4"
    background = Background(True, lambda: False, 20.0)

    def policy(obs, rng):
        return np.zeros(1, np.int64)

    def render(keep_going):
        cfg = env_config("TestSimulated-v0")
        video.record(cfg, None, policy, [path], 0, True, keep_going)

    background.start(render)
    assert background.in_child
    assert background.wait() is None
    assert path.stat().st_size > 0
