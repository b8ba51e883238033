"""Jobs of a sweep are composed as Hydra composes them, only faster."""

from __future__ import annotations

import time

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from rl_cli.cli import hydra_app
from rl_cli.cli.job_composer import JobComposer, _without_hydra
from rl_cli.cli.job_config import JobConfig

TYPED = ["env=cartpole", "++env.kwargs.fixed=[1,2]", "hydra.sweep.dir=s", "hydra.mode=MULTIRUN"]
JOBS = [
    ["algo=ppo", "seed=3", "algo.learning_rate=0.001", "++env.kwargs.fixed=[1,2]"],
    ["algo=dqn", "env=acrobot", "algo.hidden_sizes=[32,16]", "total_timesteps=${eval.every}"],
    [
        "env={id: Other-v0}",
        "++env.kwargs={a: 'x y', b: [1, {c: 2}]}",
        "hparams=none",
        "algo=reinforce",
    ],
    ["experiment=lunarlander_windy", "algo.gamma=0.5", "eval.every=7", "stop.eval_return=null"],
    ["++env.kwargs.text='a,b=c'", "++callbacks.mine.every=3", "++env.kwargs={z: 1}", "env=mine"],
    ["seed=1", "seed=2", "algo=rainbow", "eval={every: 5}", "algo.gamma=.9"],
    ["~seed", "algo=dqn", "~stop.window"],
    ["run_dir='runs/${hydra:job.num}'", "seed=5"],
]
REFUSED = [
    ["algo.gama=0.5"],
    ["algo=dqn", "seed=1,2"],
    ["+seed=3"],
    ["algo@x=dqn"],
    ["algo=none_such"],
]


@pytest.fixture
def composer(here):
    (here / "conf/env").mkdir(parents=True)
    (here / "conf/env/mine.yaml").write_text("defaults: [_base, _self_]\nid: Mine-v0\n")
    words = [*TYPED, f"hydra.searchpath=['file://{here}/conf']"]
    with hydra_app.application() as hydra:
        master = hydra.compose_config("config", words, RunMode.MULTIRUN)
        yield JobComposer(hydra.config_loader, master)


def by_hydra(composer, number, overrides):
    """What Hydra's own launcher would hand to the task."""
    cfg = composer.loader.load_sweep_config(composer.master, overrides)
    from omegaconf import open_dict

    with open_dict(cfg):
        cfg.hydra.job.num = number
    HydraConfig.instance().set_config(cfg)
    return JobConfig.of(number, _without_hydra(cfg), cfg.hydra, overrides)


def test_every_kind_of_override_gives_what_hydra_gives(composer):
    for number, overrides in enumerate([*JOBS, *JOBS[::-1]]):  # also from a composition made before
        if number < len(JOBS) or number % 3 == 0:
            expected = by_hydra(composer, number, overrides)
            assert composer.compose(number, overrides) == expected, overrides
    assert len(composer.bases) == len(JOBS)


def test_what_hydra_refuses_is_refused_with_the_same_words(composer):
    for overrides in REFUSED:
        errors = []
        for compose in (composer.compose, lambda n, o: by_hydra(composer, n, o)):
            with pytest.raises(Exception) as error:  # noqa: PT011  of any type of Hydra's
                compose(0, overrides)
            errors.append((type(error.value), str(error.value), str(error.value.__cause__)))
        assert errors[0] == errors[1], overrides


def test_jobs_do_not_share_values(composer):
    first = composer.compose(0, ["++env.kwargs.a=1", "seed=1"])
    second = composer.compose(1, ["seed=2"])
    assert first.values["env"]["kwargs"] == {"a": 1}
    assert second.values["env"]["kwargs"] == {}
    assert len(composer.bases) == 1


def test_two_hundred_jobs_take_little_more_than_two(composer):
    """200 jobs in 15 s on one core is the bar; they take about one."""
    composer.compose(0, ["algo=ppo", "seed=0"])
    started = time.process_time()
    for number in range(50):
        composer.compose(number, ["algo=ppo", f"seed={number}", "algo.gamma=0.9"])
    assert time.process_time() - started < 15 / 4
