"""Training from Python: the bits of the command, nothing left behind in the process, errors as exceptions."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading

import gymnasium as gym
import numpy as np
import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import rl_cli
from rl_cli.api.words import words_of
from rl_cli.cli import train as rl_train
from tests.bars.kill_points import run_digests
from tests.conftest import REPO

WORDS = [
    "algo=dqn",
    "env=cartpole",
    "hparams=none",
    "algo.learning_starts=100",
    "algo.batch_size=16",
]


def handlers():
    return [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]


def process_state():
    """What a run sets for its process."""
    return {
        "handlers": handlers(),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "arguments": list(sys.argv),
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy": np.random.get_state(legacy=True)[1].tolist(),  # noqa: NPY002
        "hydra": id(GlobalHydra.instance().hydra),
        "streams": (sys.stdout, sys.stderr),
        "exit": os._exit,
    }


def test_run_has_the_bits_of_the_command_also_in_a_thread_and_does_not_change_the_process(
    here, tiny
):
    assert rl_train.run([*WORDS, *tiny, "run_dir=command"]) == 0
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    try:
        with initialize_config_dir(str(REPO / "conf"), version_base="1.3"), torch.no_grad():
            before = process_state()
            run = rl_cli.train([*WORDS, *tiny], run_dir=here / "python")
            assert process_state() == before
            found = []
            thread = threading.Thread(
                target=lambda: found.append(rl_cli.train([*WORDS, *tiny, "run_dir=thread"]))
            )
            thread.start()
            thread.join()
            assert process_state() == before
    finally:
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float32)
    assert (run.folder, run.state, run.reason, run.step) == (
        here / "python",
        "completed",
        "budget",
        400,
    )
    assert (run.exit_code, run.eval_return) == (0, run.returns.mean())
    expected = run_digests(here / "command")
    assert run_digests(run.folder) == expected
    assert run_digests(found[0].folder) == expected


class Signals(gym.wrappers.TransformReward):
    """CartPole; step 150 raises SIGINT."""

    taken = 0

    def __init__(self):
        super().__init__(gym.make("CartPole-v1").unwrapped, float)

    def step(self, action):
        Signals.taken += 1
        if Signals.taken == 150:
            signal.raise_signal(signal.SIGINT)
        return super().step(action)


gym.register("ApiSignals-v0", Signals, max_episode_steps=500)


def test_interrupt_saves_a_checkpoint_and_then_has_its_effect_on_the_program(
    here, tiny, monkeypatch
):
    monkeypatch.setattr(Signals, "taken", 0)
    words = [*WORDS, *tiny, "eval.every=0"]
    words[1] = "env.id=ApiSignals-v0"
    with pytest.raises(KeyboardInterrupt):
        rl_cli.train(words, run_dir="run")
    run = rl_cli.read("run")
    assert (run.status["state"], run.status["reason"]) == ("interrupted", "SIGINT")
    step = run.status["step"]
    assert 100 <= step < 400
    taken = []
    before = signal.signal(signal.SIGINT, lambda *_: taken.append(1))
    try:
        monkeypatch.setattr(Signals, "taken", 0)
        stopped = rl_cli.train(resume="run")  # a handler of the program that goes on
    finally:
        signal.signal(signal.SIGINT, before)
    assert (taken, stopped.state, stopped.reason) == ([1], "interrupted", "SIGINT")
    assert step < stopped.step < 400
    assert rl_cli.train(resume="run").step == 400


def test_second_run_at_the_same_time_is_refused(here, tiny):
    started, go_on = threading.Event(), threading.Event()

    class Waits(gym.Env):
        observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            started.set()
            assert go_on.wait(60)
            return np.zeros(1, np.float32), {}

        def step(self, action):
            return np.zeros(1, np.float32), 0.0, True, False, {}

    gym.register("ApiWaits-v0", Waits)
    found = []

    def target():
        found.append(
            rl_cli.train(["algo=reinforce", "env.id=ApiWaits-v0", *tiny], total_timesteps=20)
        )

    thread = threading.Thread(target=target)
    thread.start()
    assert started.wait(60)
    with pytest.raises(rl_cli.BadInput, match="another thread of this process"):
        rl_cli.train(["algo=dqn", "env=cartpole"])
    go_on.set()
    thread.join()
    assert found[0].step == 20


@pytest.mark.parametrize(
    ("words", "keys", "message"),
    [
        (["env=cartpol"], {}, "did you mean cartpole"),
        ([], {"sed": 3}, "did you mean seed"),
        ([], {"seed": -1}, "seed=-1"),
        (["seed=0,1"], {}, "several values for one run"),
        (["sweep=seeds"], {}, "these are several runs"),
        (["-m", "seed=0,1"], {}, "an option of the command"),
        ([], {"env": object()}, "cannot be of the type object"),
        ([], {"resume": "nowhere"}, "this is no run folder"),
        (["env.kwargs.x=1", "env=cartpole"], {}, "takes no argument x"),
    ],
)
def test_bad_input_raises_prints_nothing_and_starts_nothing(here, capfd, words, keys, message):
    with pytest.raises(rl_cli.BadInput, match=message):
        rl_cli.train(words, **keys)
    assert capfd.readouterr() == ("", "")
    assert list(here.iterdir()) == []


def test_trained_run_is_loaded_without_naming_its_code_again(here, tiny):
    words = [*WORDS, *tiny, "total_timesteps=120", "eval.every=0", "eval.episodes=1"]
    words += ["env.wrappers=[gymnasium.wrappers:TimeAwareObservation]"]
    run = rl_cli.train(words, run_dir="run")
    assert run.load("latest").observation_space.shape == (5,)
    with pytest.raises(rl_cli.BadInput, match="names code"):
        rl_cli.load(run.folder)


def test_failure_of_a_run_raises(here, tiny):
    class Breaks(gym.Env):
        observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            raise ZeroDivisionError("in the env")

    gym.register("ApiBreaks-v0", Breaks)
    with pytest.raises(rl_cli.EnvFault, match="in the env"):
        rl_cli.train(["algo=reinforce", "env.id=ApiBreaks-v0", *tiny], run_dir="run")
    assert rl_cli.read("run").status["state"] == "failed"


@pytest.mark.parametrize(
    ("words", "keys", "expected"),
    [
        ("algo=ppo env=cartpole", {}, ["algo=ppo", "env=cartpole"]),
        (["a=1"], {"seed": np.int64(3), "algo.gamma": 0.5}, ["a=1", "seed=3", "algo.gamma=0.5"]),
        ([], {"eval": {"every": 5, "greedy": False}}, ["eval.every=5", "eval.greedy=false"]),
        ([], {"algo": {"hidden_sizes": (64, 64)}}, ["algo.hidden_sizes=[64,64]"]),
        ([], {"stop": {"eval_return": None}}, ["stop.eval_return=null"]),
        ([], {"run_dir": REPO / "a b"}, [f'run_dir="{REPO}/a b"']),
        ([], {"env": {"kwargs": {"size": np.array([1.5, 2.0])}}}, ["env.kwargs.size=[1.5,2.0]"]),
        ([], {"log.sinks": {"jsonl": {}}}, ["log.sinks.jsonl={}"]),
    ],
)
def test_keys_become_words(words, keys, expected):
    assert words_of(words, keys) == expected


SCRIPT = """
import rl_cli, sys
assert not {"torch", "numpy", "hydra", "gymnasium"} & set(sys.modules)
assert "train" in dir(rl_cli)
words = sys.argv[1:]
for seed in (0, 1):
    run = rl_cli.train(words, seed=seed, video={"episodes": 1 - seed})
    print("ended", run.step, len(run.read().videos))
"""


def test_script_without_a_main_guard_trains_once_per_call(here, tiny):
    (here / "script.py").write_text(SCRIPT)
    words = [*WORDS, *(word for word in tiny if not word.startswith("video"))]
    words += ["total_timesteps=150", "eval.every=0", "env.max_episode_steps=9"]
    done = subprocess.run(
        [sys.executable, "script.py", *words],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("ended 150 1\nended 150 0\n", "")
    assert len(list(here.glob("runs/dqn/cartpole/*/status.json"))) == 2
