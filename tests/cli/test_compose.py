"""The command line that Hydra gets, and how often Hydra composes it."""

from __future__ import annotations

import pytest

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
