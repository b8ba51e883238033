"""B8: an env that misbehaves ends a run as it should, wherever it runs; see `tests.odd_envs`."""

from __future__ import annotations

import copy
import functools
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from rl_cli.cli import evaluate as rl_eval
from rl_cli.config.env import EnvConfig
from rl_cli.config.schema import build
from rl_cli.core.errors import RunError
from rl_cli.core.processes import no_silent_exit
from rl_cli.evaluation import watchdog
from rl_cli.evaluation.evaluator import Evaluator, evaluate
from rl_cli.tracking.display import print_table
from tests.bars.results import report
from tests.config.test_config import compose
from tests.conftest import FULL
from tests.odd_envs import ACCEPTED, AT, CLOSE, MAKE, RESET, STEP, Odd, Silent
from tests.runs import train

SHORT = [
    "env=custom", "env.id=tests.odd_envs:Odd-v0", "hparams=none", "total_timesteps=100",
    "checkpoint.every=50", "eval.every=0", "eval.episodes=1", "log.every=50",
    "log.tensorboard=false", "video.episodes=0", "compile=false", "quiet=true",
]  # fmt: skip
ALGO = {
    "dqn": [
        "algo=dqn", "algo.learning_starts=20", "algo.batch_size=4", "algo.train_every=20",
        "algo.buffer_size=100", "algo.hidden_sizes=[4]",
    ],
    "ppo": ["algo=ppo", "algo.rollout_length=20", "algo.minibatch_size=20", "algo.num_epochs=1"],
}  # fmt: skip
FAILING = {**STEP, **RESET}


@functools.cache
def composed(algo):
    return compose(*ALGO[algo], *SHORT)


def run(how, algo="dqn", folder="r", **changes):
    config = copy.deepcopy(composed(algo)) | {"run_dir": folder} | changes
    config["env"]["kwargs"] = {"how": how}
    return train(config, (algo, "odd"))


def status(folder="r"):
    """status.json, which must be JSON to the letter."""
    text = (Path(folder) / "status.json").read_text()
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in status.json"))


def assert_three_lines(error, part):
    first, *others = str(error).splitlines()
    assert first.startswith("error: ")
    assert part in first
    assert [line.split(":")[0].strip() for line in others][:2] == ["where", "do"]
    assert len(others) <= 3
    assert len(str(error)) < 2_000
    assert "\x1b" not in str(error)


@pytest.mark.parametrize("how", FAILING)
@pytest.mark.parametrize("algo", ALGO if FULL else ["dqn"])
def test_run_fails_and_its_checkpoint_continues_with_the_repaired_env(here, monkeypatch, how, algo):
    _, code, part = FAILING[how]
    with pytest.raises(RunError) as caught:
        run(how, algo)
    assert caught.value.exit_code == code
    assert_three_lines(caught.value, part)
    assert f"step={AT - 1}, env=0" in caught.value.where
    assert caught.value.kept == "checkpoint 50 in r"
    found = status()
    assert (found["state"], found["exit_code"]) == ("failed", code)
    assert found["step"] == AT - 1  # the last complete one
    if FULL or code == 3:
        monkeypatch.setattr(Odd, "at", 10**9)
        assert run(how, algo, None, resume="r").exit_code == 0
        assert status()["state"] == "completed"
    report(7 if code == 3 else 8, 1, 1)


@pytest.mark.parametrize("how", FAILING)
def test_evaluation_fails_in_the_same_way(how):
    _, code, part = FAILING[how]
    env = composed("dqn")["env"] | {"kwargs": {"how": how}}
    evaluator = Evaluator(build(EnvConfig, env, "env"), None)
    with pytest.raises(RunError) as caught, no_silent_exit():
        evaluate(evaluator, lambda obs, rng: np.zeros(len(obs), np.int64), 10, 0, True)
    assert caught.value.exit_code == code
    assert_three_lines(caught.value, part)
    assert "evaluation, seed=" in caught.value.where
    report(7 if code == 3 else 8, 1, 1)


IN_WORKERS = list(FAILING) if FULL else ["exits", "generator", "shape_13", "pixels_nan", "four"]


@pytest.mark.parametrize("how", IN_WORKERS)
def test_worker_process_fails_in_the_same_way(here, how):
    _, code, part = FAILING[how]
    part = "the process of the env ended with code 0" if how == "exits_at_once" else part
    with pytest.raises(RunError) as caught:
        run(how, workers=1)
    assert caught.value.exit_code == code
    assert_three_lines(caught.value, part)
    assert status()["state"] == "failed"
    report(7 if code == 3 else 8, 1, 1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """metrics.csv of a run with an env that behaves."""
    folder = tmp_path_factory.mktemp("plain") / "r"
    assert run("", folder=str(folder)).exit_code == 0
    return (folder / "metrics.csv").read_text()


@pytest.mark.parametrize("how", ACCEPTED)
def test_what_means_the_same_is_accepted(here, plain, how, monkeypatch):
    """Also an env that changes the current folder: the results lie where the command was started."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    assert run(how).exit_code == 0
    same_space = not how.startswith(("pixels", "discrete"))
    found = Path("r/metrics.csv").read_text()
    assert not same_space or without_time(found) == without_time(plain)


def test_settings_that_an_env_changes_change_no_evaluation(here, capfd):
    run("")
    found = []
    for how in ("", "settings"):
        env = ["env.id=tests.odd_envs:Odd-v0", f"env.kwargs.how={how or chr(39) * 2}"]
        assert rl_eval.run(["r", *env, "episodes=9", "output=e"]) == 0
        found.append(json.loads(Path("e/evaluation.json").read_text())["episodes"])
    assert found[0] == found[1]
    out, err = capfd.readouterr()
    assert out.count("mean return") == 2
    assert "the env changed torch's default dtype, a setting of the whole process" in err
    assert "the env changed the file mode mask" in err


def without_time(table):
    """Rows of metrics.csv without the columns of the clock."""
    header, *rows = (line.split(",") for line in table.splitlines())
    kept = [i for i, name in enumerate(header) if not name.startswith("time/")]
    return [[row[i] for i in kept] for row in (header, *rows)]


@pytest.mark.parametrize("how", MAKE)
def test_env_that_cannot_be_made_is_refused(here, how):
    with pytest.raises(RunError) as caught:
        run(how)
    assert caught.value.exit_code == 2
    assert_three_lines(caught.value, MAKE[how][1])
    assert not Path("r").exists()
    report(8, 1, 1)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", CLOSE)
def test_close_that_fails_changes_nothing(here, capfd, how, workers):
    assert run(how, workers=workers).exit_code == 0
    assert (status()["state"], status()["exit_code"]) == ("completed", 0)
    notes = [x for x in capfd.readouterr().err.splitlines() if "close() of the env failed" in x]
    assert 1 <= len(notes) <= 2
    if not workers:
        assert (
            rl_eval.run(
                ["r", "env.id=tests.odd_envs:Odd-v0", f"env.kwargs.how={how}", "episodes=1"]
            )
            == 0
        )
        out, err = capfd.readouterr()
        assert "mean return" in out
        assert err.count("close() of the env failed") == 1


def test_close_that_hangs_is_ended_by_step_timeout(here, capfd, monkeypatch):
    monkeypatch.setattr(Odd, "close", lambda self: time.sleep(60))
    started = time.monotonic()
    assert run("", step_timeout=0.4).exit_code == 0
    assert time.monotonic() - started < 20
    assert status()["state"] == "completed"
    assert "has not responded for 0.4 s" in capfd.readouterr().err
    monkeypatch.setattr(watchdog, "closing", watchdog.Watchdog(0.3))
    assert (
        rl_eval.run(["r", "env.id=tests.odd_envs:Odd-v0", "env.kwargs.how=''", "episodes=1"]) == 0
    )
    assert "has not responded for 0.3 s" in capfd.readouterr().err


@pytest.mark.parametrize("background", [True, False])
def test_renderer_that_exits_costs_one_line(here, capfd, background):
    config = composed("dqn")["video"] | {"episodes": 1, "background": background}
    assert run("render_exits", video=config).exit_code == 0
    assert status()["state"] == "completed"
    assert "no videos: the env raised SystemExit: 0" in capfd.readouterr().err
    assert not list(Path("r/videos").glob("*"))


def test_table_on_a_stream_of_an_env_raises_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Silent())
    assert not print_table(Table("column"))
