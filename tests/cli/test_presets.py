"""Presets are called tuned if, and only if, the table of docs/learning.md says that they are over their bar."""

from __future__ import annotations

import re

import pytest

from rl_cli.cli.presets import preset_label, preset_status
from tests.config.test_config import CONF, HPARAMS
from tests.conftest import REPO

RESULTS = (REPO / "docs/learning.md").read_text().split("<!-- end table -->")[0]
ROW = r"^\| `algo=(\w+) env=(\w+)` \|.*\| ([^|]+) \|$"
STATUS = {"below": "below", "no bar": "measured"}
MEASURED = {
    f"{algo}_{env}": STATUS.get(verdict, "tuned")
    for algo, env, verdict in re.findall(ROW, RESULTS, re.MULTILINE)
}
PRESETS = [name for name in HPARAMS if name != "none"]


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_called_tuned_only_if_it_was_measured(name):
    status = preset_status(*name.split("_", 1))
    word = status.split()[0]
    assert MEASURED.get(name) == (word if word in ("tuned", "below", "measured") else None)
    assert status not in ("your values", "plain defaults")
    assert preset_label(name) == f"{status}: {name}"


def test_other_statuses_say_where_values_come_from(here):
    assert MEASURED
    assert preset_status("ppo", "breakout") == "published values, not verified here"
    assert preset_status("ppo", "custom") == "plain defaults"
    assert preset_label("none") == preset_label("ppo_custom") == "plain defaults"
    (here / "conf/hparams").mkdir(parents=True)
    (here / "conf/hparams/ppo_mine.yaml").write_text("# @package _global_\nseed: 1\n")
    assert preset_status("ppo", "mine") == "your values"
    assert preset_label("ppo_mine", [CONF]) == "plain defaults"
    (here / "conf/hparams/ppo_own.yaml").write_text("# @package _global_\n# status: unmeasured\n")
    assert preset_status("ppo", "own") == "own values, not verified here"


def test_readme_lists_presets_under_their_status():
    readme = (REPO / "README.md").read_text()
    columns = ["tuned", "below", "published"]
    found = {}
    for env, *cells in re.findall(
        r"^\| `(\w+)` \| .* \| (.*) \| (.*) \| (.*) \|$", readme, re.MULTILINE
    ):
        for column, cell in zip(columns, cells, strict=True):
            for algo, kind in re.findall(r"(\w+)(?: \((own|measured)\))?", cell.replace(",", "")):
                found[f"{algo}_{env}"] = kind or column
    assert found == {name: preset_status(*name.split("_", 1)).split()[0] for name in PRESETS}
