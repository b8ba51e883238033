"""Time limits of env calls: what counts is the time in which the process ran."""

from __future__ import annotations

import os
import signal
import time

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from rl_cli.core.running_time import RunningTime
from rl_cli.envs.faults import close_env
from rl_cli.evaluation import watchdog
from tests.bars.kill_points import train_in_child


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0, 1.0, 2.0, 2.5], 2.5),
        ([0.0, 1.0, 61.0, 62.0], 3.0),  # stopped for a minute
        ([0.0, 1000.0, 2000.0], 2.0),  # twice
        ([5.0], 0.0),
    ],
)
def test_time_in_which_the_process_was_stopped_does_not_count(times, expected):
    now = [times[0]]
    running = RunningTime(1.0, lambda: now[0])
    for now[0] in times[1:]:
        running.advance()
    assert running.seconds == expected
    running.restart()
    assert running.seconds == 0.0


class Suspended(CartPoleEnv):
    """In its fifth step the run and the env's process are stopped for three time limits."""

    age = 0

    def step(self, action):
        self.age += 1
        if self.age == 5:
            processes = {os.getpid(), int(os.environ["SUSPENDED_RUN"])}
            if os.fork() == 0:
                for signum in (signal.SIGSTOP, signal.SIGCONT):
                    for pid in processes:
                        os.kill(pid, signum)
                    time.sleep(1.5)
                os._exit(0)
            time.sleep(0.2)  # a slow step, during which it is stopped
        return super().step(action)


gym.register("Suspended-v0", Suspended)


@pytest.mark.parametrize("workers", [0, 1])
def test_run_that_is_stopped_and_continued_continues(here, workers, capfd):
    def prepare():
        os.environ["SUSPENDED_RUN"] = str(os.getpid())

    args = ["env.id=Suspended-v0", "algo=ppo", "algo.rollout_length=10", "algo.minibatch_size=10"]
    args += ["total_timesteps=20", "env.max_episode_steps=9", "eval.episodes=1", "run_dir=r"]
    args += ["log.tensorboard=false", "video.episodes=0", "compile=false", "quiet=true"]
    args += [f"workers={workers}", "step_timeout=0.5"]
    assert train_in_child(args, prepare) == 0, capfd.readouterr().err


class Closing:
    def __init__(self, seconds):
        self.seconds = seconds

    def close(self):
        time.sleep(self.seconds)


def test_after_one_close_that_hangs_the_others_are_not_waited_for_as_long(monkeypatch):
    monkeypatch.setattr(watchdog, "AGAIN_SECONDS", 0.1)
    started = time.monotonic()
    with watchdog.Watchdog(0.6).watching():
        problems = [close_env(Closing(60)) for _ in range(5)]
    assert 0.5 < time.monotonic() - started < 3
    texts = [f"the env has not responded for {seconds} s" for seconds in ("0.6", *["0.1"] * 4)]
    assert problems == texts


def test_watchdog_inside_another_leaves_its_timer():
    with watchdog.Watchdog(8.0).watching():
        with watchdog.Watchdog(4.0).watching():
            assert signal.getitimer(signal.ITIMER_REAL)[1] == pytest.approx(0.25, abs=0.01)
        assert signal.getitimer(signal.ITIMER_REAL)[1] == pytest.approx(0.5, abs=0.01)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
