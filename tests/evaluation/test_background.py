"""Tasks beside the run: in a copy of it, as things were, and no harm to it."""

import ctypes
import io
import multiprocessing
import os
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from rich.console import Console
from rich.live import Live
from rich.text import Text

from rl_cli.core import processes
from rl_cli.core.errors import EnvFault
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.background import Background
from rl_cli.storage.run_folder import read_status
from rl_cli.training.callbacks.video import VideoRecorder
from tests.runs import train
from tests.training.test_trainer import compose


@pytest.fixture
def background():
    return Background(True, lambda: False)


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)


def test_a_task_sees_what_was_there_when_it_began(background, tmp_path):
    weights = [1.0]

    def task(_):
        wait_for(tmp_path / "moved")
        (tmp_path / "seen").write_text(f"{weights} {os.getpid()}")

    background.start(task)
    weights[0] = 2.0
    (tmp_path / "moved").touch()
    assert background.wait() is None
    told, process = (tmp_path / "seen").read_text().split()
    assert told == "[1.0]"
    assert int(process) != os.getpid()


def test_a_problem_is_told_once(background):
    background.start(lambda _: "no screen")
    assert background.wait() == "no screen"
    assert background.wait() is None


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process was killed by SIGKILL"),
        (lambda: os._exit(7), "the process ended with code 7"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_task_that_dies_is_a_problem_and_no_more(background, end, told):
    background.start(lambda _: end())
    assert background.wait() == told
    background.start(lambda _: None)
    assert background.wait() is None


def test_signals_are_the_runs_affair_and_an_interrupted_one_asks_the_task_to_stop(tmp_path):
    asked = []

    def task(alive):
        (tmp_path / "begun").touch()
        while alive():
            time.sleep(0.01)
        return "stopped"

    background = Background(True, lambda: bool(asked))
    background.start(task)
    wait_for(tmp_path / "begun")
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(background.process.pid, signum)
    time.sleep(0.05)
    assert background.process.is_alive()
    asked.append(True)
    assert background.wait() == "stopped"


def test_it_can_be_dropped_and_is_forgotten(background):
    background.start(lambda _: time.sleep(600))
    process = background.process
    background.drop()
    assert not process.is_alive()
    assert background.wait() is None


def test_a_task_without_a_sign_of_life_is_ended_be_it_in_c():
    background = Background(True, lambda: False, timeout=0.5)
    background.start(lambda _: ctypes.CDLL(None).sleep(600) and None)
    assert background.wait() == "the renderer has not responded for 0.5 s"


def test_one_that_takes_its_time_but_lives_is_not():
    def task(alive):
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            assert alive()
            time.sleep(0.01)

    background = Background(True, lambda: False, timeout=0.5)
    background.start(task)
    assert background.wait() is None


def test_what_a_task_starts_obeys_it(background):
    """An env may have a simulator, which it ends by a signal."""

    def task(_):
        simulator = subprocess.Popen(["sleep", "30"])
        simulator.terminate()
        simulator.wait(timeout=5)

    background.start(task)
    assert background.wait() is None


def test_networks_that_have_used_several_threads_can_be_asked_in_a_copy():
    """OpenMP does not survive a fork: who asks it for threads in the copy waits for ever."""
    before = torch.get_num_threads()
    weights, picture = torch.ones(8, 4, 3, 3), torch.ones(4, 4, 64, 64)
    try:
        torch.set_num_threads(2)
        torch.conv2d(picture, weights)
        background = Background(True, lambda: False, timeout=5.0)
        background.start(lambda _: str(float(torch.conv2d(picture, weights)[0, 0, 0, 0])))
        assert background.wait() == "36.0"
    finally:
        torch.set_num_threads(before)


def test_a_talkative_env_does_not_disturb_the_live_view():
    """Its lock may be held by another thread when the process forks, and stays so in the copy."""
    background = Background(True, lambda: False, timeout=2.0)
    held, begun = threading.Event(), threading.Event()
    console = Console(file=io.StringIO(), force_terminal=True)
    with Live(Text("a run"), console=console, auto_refresh=False) as live:

        def hold():
            with live._lock:
                held.set()
                begun.wait()

        threading.Thread(target=hold).start()
        held.wait()
        background.start(lambda _: print("hello", flush=True))
        begun.set()
        assert background.wait() is None


def no_room(act):
    raise BlockingIOError("no more processes")


@pytest.mark.parametrize("beside", [True, False])
def test_without_a_process_the_run_waits(beside, monkeypatch):
    monkeypatch.setattr(processes, "fork", no_room)
    background, where = Background(beside, lambda: False), []
    background.start(lambda _: where.append(os.getpid()))
    assert where == [os.getpid()]
    assert not background.in_child
    assert background.wait() is None


def test_a_process_that_may_have_no_children_does_it_itself(monkeypatch):
    monkeypatch.setattr(type(multiprocessing.current_process()), "daemon", True)
    assert not Background(True, lambda: False).in_child


def filmed(here, tiny, monkeypatch, *overrides, beside=True):
    """A short run of CartPole with a film at its middle and at its end."""
    config = compose(
        "algo=ppo", "env=cartpole", *tiny, "video.episodes=1", "video.every=200", *overrides
    )
    name = "beside" if beside else "waiting"
    if not beside:
        monkeypatch.setattr(processes, "fork", no_room)
    assert train(config | {"run_dir": str(here / name)}, ("ppo", "cartpole")).exit_code == 0
    return {p.name: p.read_bytes() for p in sorted((here / name).glob("videos/*"))}


def test_films_made_beside_a_run_are_those_it_would_have_waited_for(here, tiny, monkeypatch):
    """Of the policy as it was at their step, though it goes on learning meanwhile."""
    beside = filmed(here, tiny, monkeypatch)
    assert len(beside) == 2
    assert beside == filmed(here, tiny, monkeypatch, beside=False)


def at_the_fifth(act):
    """A renderer for as many frames, and then this; the encoder is at work by then."""
    frames = []

    def render(self):
        frames.append(1)
        return act() if len(frames) == 5 else np.zeros((20, 20, 3), np.uint8)

    return render


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process was killed by SIGKILL"),
        (lambda: time.sleep(600), "the renderer has not responded for 1 s"),
    ],
    ids=["dies", "hangs"],
)
@pytest.mark.parametrize(
    ("kind", "asked"),
    [("videos", "video.episodes=1"), ("videos of training episodes", "video.every_episodes=2")],
)
def test_a_renderer_that_dies_or_hangs_costs_a_line(
    here, tiny, monkeypatch, capsys, act, why, kind, asked
):
    monkeypatch.setattr(CartPoleEnv, "render", at_the_fifth(act))
    config = compose(
        "algo=ppo",
        "env=cartpole",
        *tiny,
        "video.every=200",
        asked,
        "step_timeout=1.0",
        "quiet=false",
    )
    assert train(config | {"run_dir": str(here / "r")}, ("ppo", "cartpole")).exit_code == 0
    told = capsys.readouterr().out
    assert told.count(f"no {kind}: {why}") == 1
    assert "done: 400 steps" in told
    assert not list((here / "r/videos").iterdir())


def test_an_error_of_the_run_does_not_wait_for_a_film(here, tiny, monkeypatch):
    step, steps, children_of = CartPoleEnv.step, [], []
    fork = processes.fork

    def failing(self, action):
        steps.append(1)
        if len(steps) > 300:
            raise RuntimeError("the wheel came off")
        return step(self, action)

    def noted(act):
        children_of.append(fork(act))
        return children_of[-1]

    monkeypatch.setattr(processes, "fork", noted)
    monkeypatch.setattr(CartPoleEnv, "render", lambda self: time.sleep(600))
    monkeypatch.setattr("rl_cli.envs.fast_classic_control.make_fast", lambda env: env)
    monkeypatch.setattr("rl_cli.envs.vector.make_fast", lambda env: env)
    monkeypatch.setattr(CartPoleEnv, "step", failing)
    config = compose(
        "algo=ppo", "env=cartpole", *tiny, "video.every=200", "video.episodes=1", "eval.every=0"
    )
    with pytest.raises(EnvFault, match="the wheel came off"):
        train(config | {"run_dir": str(here / "r")}, ("ppo", "cartpole"))
    ((process, _),) = children_of
    assert not process.is_alive()


def test_a_second_signal_ends_the_film_not_the_story(here, tiny, monkeypatch):
    """The checkpoint is saved and the run known as interrupted, whatever becomes of the film."""

    def impatient(self):
        raise KeyboardInterrupt

    config = compose("algo=ppo", "env=cartpole", *tiny, "video.every=0", "video.episodes=1")
    step, steps = VectorEnv.step, []

    def signalled(self, action):
        steps.append(1)
        if len(steps) == 20:
            signal.raise_signal(signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(VideoRecorder, "wait", impatient)
    monkeypatch.setattr(VectorEnv, "step", signalled)
    outcome = train(config | {"run_dir": str(here / "r")}, ("ppo", "cartpole"))
    assert (outcome.state, outcome.exit_code) == ("interrupted", 130)
    assert read_status(here / "r")["state"] == "interrupted"
