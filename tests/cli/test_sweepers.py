"""Sweepers of other packages on our launcher: what a job returns to them, and how a failed one ends."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf

import hydra_plugins
from rl_cli.cli import other_launchers, sweepers, train
from rl_cli.core.errors import BadInput
from rl_cli.sweep import local_executor
from rl_cli.sweep.executor import Ended, Executor

LINE = ["-m", "hydra/sweeper=fake", "algo=dqn", "env=cartpole", "algo.gamma=0.5"]


class Instant(Executor):
    """Writes the record of a job at once: seed 1 fails, seed 2 has no evaluation, others return 10 + seed."""

    def __init__(self):
        self.ended = []

    def free(self):
        return 1

    def start(self, number, task):
        seed = task.config["seed"]
        end = {"exit_code": 0, "state": "completed", "reason": "budget", "eval_return": 10.0 + seed}
        if seed == 1:
            end |= {"exit_code": 1, "state": "failed", "reason": "env broke", "eval_return": None}
        if seed == 2:
            end["eval_return"] = None
        Path(task.path).write_text(json.dumps(task.record | end))
        self.ended.append(Ended(number, end["exit_code"]))

    def wait(self, seconds):
        ended, self.ended = self.ended, []
        return ended

    def send(self, number, signum):
        raise AssertionError


@dataclass
class FakeConf:
    _target_: str = "hydra_plugins.fake.Fake"
    direction: str = "minimize"
    max_failure_rate: float = 0.0


class Fake(Sweeper):
    """Launches two batches and keeps what it reads of each job."""

    seen: list = []  # noqa: RUF012  of the last sweep

    def __init__(self, direction, max_failure_rate):
        self.rate = max_failure_rate

    def setup(self, *, hydra_context, task_function, config):
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        Fake.seen = [self.rate]
        for first, seeds in ((0, (0, 1)), (2, (2, 3))):
            batch = [[*arguments, f"seed={seed}"] for seed in seeds]
            for job in self.launcher.launch(batch, first):
                try:
                    Fake.seen.append(job.return_value)
                except Exception as error:  # as hydra-optuna-sweeper does
                    Fake.seen.append(str(error))
        if self.rate == 0.5:
            raise ValueError("No trials are completed yet.")


@pytest.fixture
def fake(here, monkeypatch):
    monkeypatch.setattr(Fake, "__module__", "hydra_plugins.fake")
    monkeypatch.setitem(sys.modules, "hydra_plugins.fake", sys.modules[__name__])
    monkeypatch.setattr(hydra_plugins, "fake", sys.modules[__name__], raising=False)
    monkeypatch.setattr(local_executor, "make", lambda wanted: Instant())
    Plugins.instance().register(Fake)
    ConfigStore.instance().store(group="hydra/sweeper", name="fake", node=FakeConf)
    return here


def test_job_returns_its_evaluation_and_a_failed_one_says_why(fake, capsys):
    assert train.run([*LINE, "hydra.sweeper.direction=maximize", "display=plain"]) == 1
    assert Fake.seen == [
        1.0,  # it continues after failed jobs
        10.0,
        "job 1 failed: env broke",
        "job 2 completed: it has no evaluation",
        13.0,
    ]
    out, err = capsys.readouterr()
    assert "Got 'None'" not in out + err
    assert "Error executing job" not in err
    assert "[1] failed  seed=1  env broke" in out.splitlines()
    assert out.count("sweep: ") == 1
    assert len(list(fake.glob("runs/sweeps/*/job_*.json"))) == 4


def test_error_of_a_sweeper_after_its_jobs_leaves_the_report(fake, capsys):
    words = ["hydra.sweeper.direction=maximize", "hydra.sweeper.max_failure_rate=0.5"]
    assert train.run([*LINE, *words]) == 1
    out, err = capsys.readouterr()
    assert "note: the sweeper ended with ValueError: No trials are completed yet." in err
    assert "env broke" in out


def test_sweeper_that_minimizes_is_refused_before_any_job(fake, capsys):
    assert train.run(LINE) == 2
    assert "  do: write hydra.sweeper.direction=maximize" in capsys.readouterr().err.splitlines()
    assert train.run([*LINE, "hydra.sweeper.direction=minimize"]) == 2
    assert not (fake / "runs").exists()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"direction": ["minimize"]}, "hydra.sweeper.direction=maximize"),
        ({"optim": {"maximize": False}}, "hydra.sweeper.optim.maximize=true"),
        (
            {"ax_config": {"experiment": {"minimize": True}}},
            "hydra.sweeper.ax_config.experiment.minimize=false",
        ),
    ],
)
def test_each_known_way_to_minimize_is_refused(config, line):
    with pytest.raises(BadInput) as refused:
        sweepers.adapted(OmegaConf.create(config), [])
    assert refused.value.fix == f"write {line}"


def test_sweeper_stops_at_the_failure_rate_that_is_set():
    config = OmegaConf.create({"direction": "maximize", "max_failure_rate": 0.0})
    assert sweepers.adapted(config, []) == ["hydra.sweeper.max_failure_rate=1.0"]
    assert sweepers.adapted(config, ["hydra.sweeper.max_failure_rate=0.0"]) == []
    config.max_failure_rate = 0.2
    assert sweepers.adapted(config, []) == []
    assert sweepers.adapted(OmegaConf.create({"max_batch_size": 3}), []) == []


def test_idle_workers_of_joblib_end_with_the_sweep(monkeypatch):
    """Also if it fails. joblib would wait for them when the interpreter ends, for seconds each."""
    ended = []
    executor = SimpleNamespace(shutdown=lambda **how: ended.append(how))
    loky = SimpleNamespace(get_reusable_executor=lambda: executor)
    monkeypatch.setitem(sys.modules, "joblib.externals.loky", loky)
    with pytest.raises(BadInput), other_launchers.ended("joblib"):
        raise BadInput("a job is refused")
    assert ended == [{"kill_workers": True}]
    with other_launchers.ended("local"):  # joblib is then of the env: its workers may be at work
        pass
    assert len(ended) == 1


def test_plugin_that_is_not_installed_is_refused_with_those_that_are(capsys):
    assert train.run(["-m", "hydra/sweeper=optuna", "env=cartpole", "seed=0,1"]) == 2
    what, _, fix = capsys.readouterr().err.splitlines()
    assert what == "error: no hydra/sweeper called optuna"
    assert "basic, " in fix
    assert "grid" in fix
    assert "rl-search" in fix


@pytest.mark.parametrize(
    ("device", "note"),
    [("cpu", "for nothing"), ("auto", "for networks of images only"), ("mixed", None)],
)
def test_gpus_that_the_networks_do_not_use_are_named(fake, capsys, monkeypatch, device, note):
    monkeypatch.setattr("rl_cli.core.devices.require_driver", lambda device: None)
    devices = "cpu,cuda" if device == "mixed" else device
    words = ["-m", "env=cartpole", "seed=0,3", "gpus=0,1", f"device={devices}", "display=none"]
    assert train.run(words) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "GPU" in line]
    expected = f"note: device={device} uses the GPU of a job {note}; device=cuda for all networks"
    assert notes == ([] if note is None else [expected])
