"""Tasks beside the run: in a copy of it, as things were, and no harm to it."""

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from test_trainer import compose

from rl_cli import children
from rl_cli.background import Background
from rl_cli.run import train


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

    background.begin(task)
    weights[0] = 2.0
    (tmp_path / "moved").touch()
    assert background.wait() is None
    told, process = (tmp_path / "seen").read_text().split()
    assert told == "[1.0]"
    assert int(process) != os.getpid()


def test_a_problem_is_told_once(background):
    background.begin(lambda _: "no screen")
    assert background.wait() == "no screen"
    assert background.wait() is None


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "the process was killed by SIGKILL"),
        (lambda: os._exit(7), "the process ended with code 7"),
        (lambda: 1 / 0, "the process ended with code 1"),
    ],
)
def test_a_task_that_dies_is_a_problem_and_no_more(background, end, told):
    background.begin(lambda _: end())
    assert background.wait() == told
    background.begin(lambda _: None)
    assert background.wait() is None


def test_signals_are_the_runs_affair_and_an_interrupted_one_asks_the_task_to_stop(tmp_path):
    asked = []

    def task(interrupted):
        (tmp_path / "begun").touch()
        while not interrupted():
            time.sleep(0.01)
        return "stopped"

    background = Background(True, lambda: bool(asked))
    background.begin(task)
    wait_for(tmp_path / "begun")
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(background.process.pid, signum)
    time.sleep(0.05)
    assert background.process.is_alive()
    asked.append(True)
    assert background.wait() == "stopped"


def test_it_can_be_dropped(background):
    background.begin(lambda _: time.sleep(600))
    background.drop()
    assert background.wait() == "the process was killed by SIGKILL"


def test_what_guards_a_task_is_around_it_in_its_own_process():
    @contextmanager
    def guarded():
        os.environ["GUARDED"] = "yes"
        yield

    background = Background(True, lambda: False, guarded)
    background.begin(lambda _: os.environ.get("GUARDED"))
    assert background.wait() == "yes"
    assert "GUARDED" not in os.environ


def no_room(act):
    raise BlockingIOError("no more processes")


@pytest.mark.parametrize("beside", [True, False])
def test_without_a_process_the_run_waits(beside, monkeypatch):
    monkeypatch.setattr(children, "fork", no_room)
    background, where = Background(beside, lambda: False), []
    background.begin(lambda _: where.append(os.getpid()))
    assert where == [os.getpid()]
    assert not background.beside
    assert background.wait() is None


def test_other_threads_do_no_harm(background):
    """TensorBoard's writer and the live view have some; a fork takes none of them along."""
    stop = threading.Event()
    threads = [threading.Thread(target=lambda: [str(time.time()) for _ in iter(stop.is_set, True)])]
    for thread in threads:
        thread.start()
    for _ in range(20):
        background.begin(lambda _: None)
        assert background.wait() is None
    stop.set()
    for thread in threads:
        thread.join()


def filmed(here, tiny, monkeypatch, *overrides, beside=True):
    """A short run of CartPole with a film at its middle and at its end."""
    config = compose(
        "algo=ppo", "env=cartpole", *tiny, "video.episodes=1", "video.every=200", *overrides
    )
    name = "beside" if beside else "waiting"
    if not beside:
        monkeypatch.setattr(children, "fork", no_room)
    assert train(config | {"run_dir": str(here / name)}, ("ppo", "cartpole")).exit_code == 0
    return {p.name: p.read_bytes() for p in sorted((here / name).glob("videos/*"))}


def test_films_made_beside_a_run_are_those_it_would_have_waited_for(here, tiny, monkeypatch):
    """Of the policy as it was at their step, though it goes on learning meanwhile."""
    beside = filmed(here, tiny, monkeypatch)
    assert len(beside) == 2
    assert beside == filmed(here, tiny, monkeypatch, beside=False)


@pytest.mark.parametrize(
    ("render", "why"),
    [
        (lambda self: os.kill(os.getpid(), signal.SIGKILL), "the process was killed by SIGKILL"),
        (lambda self: time.sleep(600), "the env has not answered for 1 s"),
    ],
    ids=["dies", "hangs"],
)
def test_a_renderer_that_dies_or_hangs_costs_a_line(here, tiny, monkeypatch, capsys, render, why):
    from gymnasium.envs.classic_control import CartPoleEnv

    monkeypatch.setattr(CartPoleEnv, "render", render)
    assert filmed(here, tiny, monkeypatch, "step_timeout=1.0", "quiet=false") == {}
    told = capsys.readouterr().out
    assert told.count(f"no videos: {why}") == 1
    assert "done: 400 steps" in told
