"""Configurations recorded by earlier versions get the keys of this version."""

from __future__ import annotations

import pytest

from rl_cli import algos
from rl_cli.config import migrations
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import keys
from rl_cli.core.errors import BadInput
from tests.config.test_config import base_values, compose


@pytest.mark.parametrize("value", [True, False])
def test_video_beside_becomes_video_background(value):
    recorded = base_values()
    del recorded["video"]["background"]
    recorded["video"]["beside"] = value
    cfg = algos.build_run_config(migrations.run(recorded))
    assert cfg.video.background is value


def test_old_names_are_refused_in_a_new_configuration_with_the_new_name():
    values = base_values()
    values["video"]["beside"] = values["video"].pop("background")
    with pytest.raises(BadInput) as caught:
        algos.build_run_config(values)
    assert (caught.value.what, caught.value.fix) == (
        "unknown key video.beside",
        "this is now video.background",
    )


@pytest.mark.parametrize("name", sorted(migrations.ALGOS))
def test_run_without_the_added_keys_gets_a_complete_configuration(name):
    full = compose(f"algo={name}", "hparams=none")
    old = {k: v for k, v in full.items() if k not in migrations.RUN}
    for group, added in migrations.GROUPS.items():
        old[group] = {k: v for k, v in full[group].items() if k not in added}
    old["algo"] = {k: v for k, v in full["algo"].items() if k not in migrations.ALGOS[name]}
    if name == "ppo":
        old["algo"]["normalize_advantage"] = True  # a bool in the earlier format
    cfg = algos.build_run_config(migrations.run(old))
    for group, added in migrations.GROUPS.items():
        assert {k: getattr(getattr(cfg, group), k) for k in added} == added
    assert {k: getattr(cfg, k) for k in migrations.RUN} == migrations.RUN
    assert {k: getattr(cfg.algo, k) for k in migrations.ALGOS[name]} == migrations.ALGOS[name]


def test_every_migration_ends_in_existing_keys():
    known = set(keys(RunSettings))
    assert set(migrations.RUN) <= known
    for group, added in migrations.GROUPS.items():
        assert {f"{group}.{key}" for key in added} <= known
    for group, names in migrations.RENAMED_IN_GROUPS.items():
        for old, new in names.items():
            assert f"{group}.{new}" in known
            assert f"{group}.{old}" not in known
    for (name, _), meanings in migrations.RENAMED.items():
        for values in meanings.values():
            assert set(values) <= set(keys(algos.config_class(name)))
