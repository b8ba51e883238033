"""Configurations that earlier versions recorded, translated to the keys of this version."""

import json
import shutil

import pytest

from rl_cli.cli import train as rl_train
from rl_cli.config import migrations
from rl_cli.core.errors import BadInput
from rl_cli.storage import checkpoint_reader, run_folder
from rl_cli.storage.manifest import FORMAT
from rl_cli.training import resume
from tests.conftest import REPO

GOLDEN = REPO / "tests/golden"


def test_booleans_of_earlier_versions_become_words():
    old = {"name": "ppo", "normalize_advantage": True}
    assert migrations.algo(old, 1)["normalize_advantage"] == "minibatch"
    off = migrations.algo({**old, "normalize_advantage": False}, 1)
    assert off["normalize_advantage"] == "none"
    kept = migrations.algo({**old, "normalize_advantage": "rollout"}, 1)
    assert kept["normalize_advantage"] == "rollout"
    for baseline, word, bootstrap in ((True, "value", True), (False, "none", False)):
        new = migrations.algo({"name": "reinforce", "baseline": baseline}, 1)
        assert (new["baseline"], new["bootstrap_truncated"]) == (word, bootstrap)
    new = {"name": "reinforce", "baseline": "value", "bootstrap_truncated": False}
    assert migrations.algo(new, 1)["bootstrap_truncated"] is False


@pytest.mark.parametrize("name", ["ppo", "reinforce"])
@pytest.mark.parametrize(("written", "expected"), [(1, 0.3), (2, 0.3), (3, 0.3), (4, 0.6)])
def test_vf_coef_is_halved_up_to_format_3(name, written, expected):
    """It multiplied half the mean squared error: 0.6 * (0.5 * mse) = 0.3 * mse."""
    assert migrations.algo({"name": name, "vf_coef": 0.6}, written)["vf_coef"] == expected


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5]])
def test_vf_coef_of_another_type_is_left_to_the_schema(value):
    assert migrations.algo({"name": "ppo", "vf_coef": value}, 3)["vf_coef"] == value


def test_configuration_without_format_is_of_format_3():
    old = {"algo": {"name": "ppo", "vf_coef": 0.5}}
    assert migrations.run(old)["algo"]["vf_coef"] == 0.25
    assert migrations.run({"format": 4, **old})["algo"]["vf_coef"] == 0.5
    assert "format" not in migrations.run({"format": 4, **old})


@pytest.mark.parametrize("name", ["ppo", "reinforce"])
@pytest.mark.parametrize("written", [1, 2, 3])
def test_vf_coef_of_old_run_is_halved_once(here, name, written):
    """The folder and its checkpoints agree, before and after two resumes."""
    shutil.copytree(GOLDEN / f"format_{written}" / name, here / "run")
    for steps in (4020, 4040, None):
        config, _ = resume.recorded(here / "run")
        saved = checkpoint_reader.read_manifest(checkpoint_reader.find(here / "run"))
        assert config["algo"]["vf_coef"] == saved.algo["vf_coef"] == 0.25
        if steps is not None:
            words = ["resume=run", f"total_timesteps={steps}", "quiet=true"]
            assert rl_train.run(words) == 0
    assert run_folder.read_config(here / "run")["format"] == FORMAT


@pytest.mark.parametrize(
    ("value", "why"), [(FORMAT + 1, "is newer than"), ("4", "not a configuration")]
)
def test_unknown_format_of_configuration_is_refused(tmp_path, value, why):
    text = json.dumps({"format": value, "algo": {"name": "dqn"}})
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(BadInput, match=why):
        run_folder.read_config(tmp_path)


@pytest.mark.parametrize("value", [0, -1, True, None, 3.0])
def test_a_format_that_no_version_wrote_is_refused(tmp_path, value):
    (tmp_path / "config.yaml").write_text(json.dumps({"format": value, "algo": {"name": "dqn"}}))
    with pytest.raises(BadInput, match="not a configuration"):
        run_folder.read_config(tmp_path)
