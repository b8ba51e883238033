"""Background: a task runs in a forked child process on a snapshot, and its failure does not end the run."""

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


def test_task_sees_the_state_of_the_moment_when_it_started(background, tmp_path):
    weights = [1.0]

    def task(_):
        wait_for(tmp_path / "changed")
        (tmp_path / "seen").write_text(f"{weights} {os.getpid()}")

    background.start(task)
    weights[0] = 2.0
    (tmp_path / "changed").touch()
    assert background.wait() is None
    seen, process = (tmp_path / "seen").read_text().split()
    assert seen == "[1.0]"
    assert int(process) != os.getpid()


def test_problem_is_returned_once(background):
    background.start(lambda _: "no display")
    assert background.wait() == "no display"
    assert background.wait() is None


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process was killed by SIGKILL"),
        (lambda: os._exit(7), "the process ended with code 7"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_task_that_dies_is_reported_and_the_next_one_runs(background, end, problem):
    background.start(lambda _: end())
    assert background.wait() == problem
    background.start(lambda _: None)
    assert background.wait() is None


def test_child_ignores_signals_and_stops_when_the_run_is_interrupted(tmp_path):
    signals = []

    def task(keep_going):
        (tmp_path / "started").touch()
        while keep_going():
            time.sleep(0.01)
        return "stopped"

    background = Background(True, lambda: bool(signals))
    background.start(task)
    wait_for(tmp_path / "started")
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(background.process.pid, signum)
    time.sleep(0.05)
    assert background.process.is_alive()
    signals.append(signal.SIGINT)
    assert background.wait() == "stopped"


def test_dropped_task_is_killed_and_has_no_result(background):
    background.start(lambda _: time.sleep(600))
    process = background.process
    background.drop()
    assert not process.is_alive()
    assert background.wait() is None


def test_task_without_heartbeats_is_killed_also_inside_c_code():
    background = Background(True, lambda: False, timeout=0.5)
    background.start(lambda _: ctypes.CDLL(None).sleep(600) and None)
    assert background.wait() == "the renderer has not responded for 0.5 s"


def test_slow_task_with_heartbeats_is_not_killed():
    def task(keep_going):
        until = time.monotonic() + 1.2
        while time.monotonic() < until:
            assert keep_going()
            time.sleep(0.01)

    background = Background(True, lambda: False, timeout=0.5)
    background.start(task)
    assert background.wait() is None


def test_task_can_terminate_a_subprocess(background):
    """An env may have a simulator process, which it ends by a signal."""

    def task(_):
        simulator = subprocess.Popen(["sleep", "30"])
        simulator.terminate()
        simulator.wait(timeout=5)

    background.start(task)
    assert background.wait() is None


def test_forward_pass_in_the_child_works_after_several_threads_in_the_parent():
    """OpenMP does not survive a fork: a parallel region in the child would block forever."""
    before = torch.get_num_threads()
    weights, image = torch.ones(8, 4, 3, 3), torch.ones(4, 4, 64, 64)
    try:
        torch.set_num_threads(2)
        torch.conv2d(image, weights)
        background = Background(True, lambda: False, timeout=5.0)
        background.start(lambda _: str(float(torch.conv2d(image, weights)[0, 0, 0, 0])))
        assert background.wait() == "36.0"
    finally:
        torch.set_num_threads(before)


def test_print_in_the_child_does_not_block_on_the_lock_of_the_live_view():
    """Another thread may hold the lock at the fork; it stays locked in the child."""
    background = Background(True, lambda: False, timeout=2.0)
    held, started = threading.Event(), threading.Event()
    console = Console(file=io.StringIO(), force_terminal=True)
    with Live(Text("a run"), console=console, auto_refresh=False) as live:

        def hold():
            with live._lock:
                held.set()
                started.wait()

        threading.Thread(target=hold).start()
        held.wait()
        background.start(lambda _: print("hello", flush=True))
        started.set()
        assert background.wait() is None


def refuse_fork(act):
    raise BlockingIOError("no more processes")


@pytest.mark.parametrize("in_child", [True, False])
def test_task_runs_in_this_process_where_none_can_be_forked(in_child, monkeypatch):
    monkeypatch.setattr(processes, "fork", refuse_fork)
    background, where = Background(in_child, lambda: False), []
    background.start(lambda _: where.append(os.getpid()))
    assert where == [os.getpid()]
    assert not background.in_child
    assert background.wait() is None


def test_daemon_process_runs_tasks_itself(monkeypatch):
    monkeypatch.setattr(type(multiprocessing.current_process()), "daemon", True)
    assert not Background(True, lambda: False).in_child


def recorded(here, tiny, monkeypatch, *overrides, in_child=True):
    """Videos of a short CartPole run, recorded after half of its steps and at its end: name -> bytes."""
    config = compose(
        "algo=ppo", "env=cartpole", *tiny, "video.episodes=1", "video.every=200", *overrides
    )
    name = "background" if in_child else "foreground"
    if not in_child:
        monkeypatch.setattr(processes, "fork", refuse_fork)
    assert train(config | {"run_dir": str(here / name)}, ("ppo", "cartpole")).exit_code == 0
    return {p.name: p.read_bytes() for p in sorted((here / name).glob("videos/*"))}


def test_videos_rendered_in_the_background_equal_those_rendered_in_the_foreground(
    here, tiny, monkeypatch
):
    """They show the policy of their step, although training continues meanwhile."""
    background = recorded(here, tiny, monkeypatch)
    assert len(background) == 2
    assert background == recorded(here, tiny, monkeypatch, in_child=False)


def act_at_fifth_frame(act):
    """A render method that calls `act` for the fifth frame, when the encoder is running."""
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
    ("kind", "setting"),
    [("videos", "video.episodes=1"), ("videos of training episodes", "video.every_episodes=2")],
)
def test_renderer_that_dies_or_hangs_is_reported_once_and_the_run_completes(
    here, tiny, monkeypatch, capsys, act, why, kind, setting
):
    monkeypatch.setattr(CartPoleEnv, "render", act_at_fifth_frame(act))
    config = compose(
        "algo=ppo",
        "env=cartpole",
        *tiny,
        "video.every=200",
        setting,
        "step_timeout=1.0",
        "quiet=false",
    )
    assert train(config | {"run_dir": str(here / "r")}, ("ppo", "cartpole")).exit_code == 0
    out = capsys.readouterr().out
    assert out.count(f"no {kind}: {why}") == 1
    assert "done: 400 steps" in out
    assert not list((here / "r/videos").iterdir())


def test_error_of_the_run_does_not_wait_for_a_video(here, tiny, monkeypatch):
    step, steps, children = CartPoleEnv.step, [], []
    fork = processes.fork

    def failing(self, action):
        steps.append(1)
        if len(steps) > 300:
            raise RuntimeError("wheel broken")
        return step(self, action)

    def recording_fork(act):
        children.append(fork(act))
        return children[-1]

    monkeypatch.setattr(processes, "fork", recording_fork)
    monkeypatch.setattr(CartPoleEnv, "render", lambda self: time.sleep(600))
    monkeypatch.setattr("rl_cli.envs.fast_classic_control.make_fast", lambda env: env)
    monkeypatch.setattr("rl_cli.envs.vector.make_fast", lambda env: env)
    monkeypatch.setattr(CartPoleEnv, "step", failing)
    config = compose(
        "algo=ppo", "env=cartpole", *tiny, "video.every=200", "video.episodes=1", "eval.every=0"
    )
    with pytest.raises(EnvFault, match="wheel broken"):
        train(config | {"run_dir": str(here / "r")}, ("ppo", "cartpole"))
    ((process, _),) = children
    assert not process.is_alive()


def test_second_signal_aborts_the_video_after_the_checkpoint_is_saved(here, tiny, monkeypatch):
    """The status is "interrupted", although the wait for the video was aborted."""

    def aborted(self):
        raise KeyboardInterrupt

    config = compose("algo=ppo", "env=cartpole", *tiny, "video.every=0", "video.episodes=1")
    step, steps = VectorEnv.step, []

    def interrupted_step(self, action):
        steps.append(1)
        if len(steps) == 20:
            signal.raise_signal(signal.SIGINT)
        return step(self, action)

    monkeypatch.setattr(VideoRecorder, "wait", aborted)
    monkeypatch.setattr(VectorEnv, "step", interrupted_step)
    outcome = train(config | {"run_dir": str(here / "r")}, ("ppo", "cartpole"))
    assert (outcome.state, outcome.exit_code) == ("interrupted", 130)
    assert read_status(here / "r")["state"] == "interrupted"
