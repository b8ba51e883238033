"""The command line that Hydra gets, and how often Hydra composes it."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from rl_cli.cli import arguments, compose
from rl_cli.core.errors import BadInput


def test_env_id_without_group_selects_custom(here):
    out = compose.prepare(["env.id=Foo-v0"])
    assert "env=custom" in out


def test_hparams_are_not_applied_to_another_env_id(here):
    assert "hparams=none" in compose.prepare(["env=cartpole", "env.id=CartPole-v0"])
    assert "hparams=none" not in compose.prepare(["env=cartpole", "env.id=CartPole-v1"])
    assert "hparams=none" not in compose.prepare(
        ["env=cartpole", "env.id=X-v0", "hparams=dqn_cartpole"]
    )


def test_split_flags_separates_flags_from_overrides():
    argv = ["algo=dqn", "--cfg", "job", "seed=1", "-m"]
    assert arguments.split_flags(argv) == (["--cfg", "job", "-m"], ["algo=dqn", "seed=1"])


def test_conf_in_current_folder_is_added_to_search_path(here):
    (here / "conf/env").mkdir(parents=True)
    (here / "conf/env/mine.yaml").write_text("defaults: [_base, _self_]\nid: Mine-v0\n")
    out = compose.prepare(["env=mine"])
    assert any(a.startswith("hydra.searchpath=") and str(here) in a for a in out)
    with pytest.raises(BadInput, match="no env called mime"):
        compose.prepare(["env=mime"])


def test_conf_folder_without_our_groups_is_ignored(here):
    (here / "conf/database").mkdir(parents=True)
    assert not any(a.startswith("hydra.searchpath") for a in compose.prepare(["algo=dqn"]))


@pytest.mark.parametrize(
    ("typed", "folder"),
    [
        ("hydra.sweep.dir=first", "first"),
        ("hydra.sweep.dir=2026_first", "2026_first"),
        ('hydra.sweep.dir="2026_first"', "2026_first"),
        ("hydra.sweep.dir='my sweep (1)'", "my sweep (1)"),
        ("++hydra.sweep.dir=plus", "plus"),
        ("hydra.sweep.dir=20260206_101500", "20260206_101500"),
        ("hydra.sweep.dir=1e3", "1e3"),
        ("hydra.sweep.dir=true", "true"),
        (r"hydra.sweep.dir=my\ sweep", "my sweep"),
        (r"hydra.sweep.dir=a\,b", "a,b"),
        ('hydra.sweep.dir=" lead"', " lead"),
        (r"hydra.sweep.dir='\${a}'", "${a}"),
        ("hydra.sweep.dir=out/${now:%Y}", f"out/{datetime.date.today().year}"),
        ("hydra.sweep.dir=${oc.env:RL_CLI_PLACE}/a", "over there/a"),
    ],
)
def test_folder_of_a_sweep_is_the_one_that_hydra_uses(here, monkeypatch, typed, folder):
    monkeypatch.setenv("RL_CLI_PLACE", "over there")
    words = compose.prepare(compose.plain([typed, "-m", "seed=0,1"]))
    assert compose.sweep_folder(words) == Path(folder)
    seen = []
    compose.run_hydra("config", words, lambda _: seen.append(HydraConfig.get().sweep.dir))
    assert seen == [folder] * 2


def test_folder_of_a_sweep_cannot_depend_on_a_job(here):
    with pytest.raises(BadInput, match="cannot depend on a job"):
        compose.plain(["hydra.sweep.dir=out/${seed}"])


def test_tuned_values_are_kept_for_an_id_in_quotes(here):
    assert "hparams=none" not in compose.prepare(["env=cartpole", 'env.id="CartPole-v1"'])
    assert "hparams=none" in compose.prepare(["env=cartpole", "env.id='CartPole-v0'"])


def composed(*argv):
    """The configurations of the runs that a command line starts."""
    found = []
    compose.run_hydra("config", compose.prepare(list(argv)), lambda cfg: found.append(cfg))
    return found


@pytest.mark.parametrize(
    "chosen", ["hydra: {mode: MULTIRUN}", "defaults: [{override /sweep: seeds}]"]
)
def test_experiment_file_can_define_a_sweep(chosen, here):
    (here / "conf/experiment").mkdir(parents=True)
    (here / "conf/experiment/many.yaml").write_text(f"# @package _global_\n{chosen}\n")
    found = composed("experiment=many", "seed=7,8", "eval.episodes=3")
    assert [(cfg.seed, cfg.eval.episodes, "hydra" in cfg) for cfg in found] == [
        (7, 3, False),
        (8, 3, False),
    ]


@pytest.mark.parametrize(
    ("preset", "word"),
    [
        ("hydra: {mode: MULTIRUN}", ""),
        ("seed: 1", "+hydra.job.env_set.RL_CLI_SEEN=yes"),
        ("seed: 1", "run_dir=${hydra:job.name}_mine"),
    ],
)
def test_configuration_that_needs_hydra_is_left_to_it(here, preset, word):
    """`compose` alone would resolve ${hydra:...} wrongly, and would not apply env_set."""
    (here / "conf/experiment").mkdir(parents=True)
    (here / "conf/experiment/mine.yaml").write_text(f"# @package _global_\n{preset}\n")
    words = ["experiment=mine", f"hydra.searchpath=[file://{here}/conf]", *([word] if word else [])]
    assert compose._needs_hydra(words) or compose._composed("config", words) is None
