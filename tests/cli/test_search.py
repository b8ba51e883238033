"""rl-search: refusals before anything starts, one small search, and presets that mean what was found."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from rl_cli.cli import compose
from rl_cli.cli import search as rl_search
from rl_cli.cli.config_groups import CONF
from rl_cli.cli.presets import preset_status
from rl_cli.cli.search_plan import Composer
from rl_cli.cli.user_files import check
from rl_cli.report import search_record

BAD = [
    (["space=mien"], "did you mean mine?"),
    (["space=typo"], "algo.learning_rate"),
    (["space=range"], "algo.gamma"),
    (["space=null_default"], "algo.target_kl"),
    (["trials=0"], "trials"),
    (["objective=fastest"], "objective"),
    (["trails=5"], "did you mean trials?"),
    (["fresh_seed=2"], "the fresh seeds are those of the trials"),
    (["run_dir=x"], "run_dir is not a key of a search"),
    (["resume=x"], "resume is not a key of a search"),
    (["-m"], "no option -m"),
    (["algo=dqn,ppo"], "several values"),
    (["algo.gama=0.9"], "did you mean algo.gamma?"),
    (["hydra/launcher=slrum"], "no such launcher"),
    (["study=../x"], "study"),
    (["storage=sqlite:////nowhere/x.db"], "this database cannot be used"),
    (["env=pendulum", "hparams=none", "objective=steps"], "threshold=<return>"),
]
SPACES = {
    "mine": "algo.learning_rate: {log: [1e-4, 1e-2]}\n",
    "typo": "algo.lerning_rate: {log: [1e-4, 1e-2]}\n",
    "range": "algo.gamma: {float: [0.5, 1.5]}\n",
    "null_default": "algo.target_kl: {float: [0.01, 0.1]}\n",
}


@pytest.fixture
def spaces(here):
    """A conf/space of the user."""
    folder = here / "conf/space"
    folder.mkdir(parents=True)
    for name, text in SPACES.items():
        (folder / f"{name}.yaml").write_text(text)
    return here


@pytest.mark.parametrize(
    ("words", "said"), BAD, ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_bad_input_is_refused_in_three_lines(words, said, spaces, capsys):
    base = [] if any(w.startswith("algo=") for w in words) else ["algo=ppo"]
    base += [] if any(w.startswith("env=") for w in words) else ["env=cartpole"]
    assert rl_search.run([*base, *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["error", "where", "do"]
    assert said in " ".join(lines)
    assert not list(Path().glob("runs/**/t0*"))


@pytest.mark.parametrize("module", ["optuna", "scipy"])
def test_a_missing_package_is_named(module, here, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else found(name)
    )
    assert rl_search.run(["algo=ppo", "env=cartpole"]) == 2
    assert "pip install 'rl-cli[search]'" in capsys.readouterr().err


def test_postgres_without_a_driver_names_the_extra(here, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if "psycopg" in name else found(name)
    )
    assert rl_search.run(["algo=ppo", "env=cartpole", "storage=postgresql://me:pw@host/x"]) == 2
    said = capsys.readouterr().err
    assert "rl-cli[postgres]" in said
    assert "pw" not in said


def test_help_lists_keys_and_spaces(capsys):
    assert rl_search.run([]) == 2
    assert rl_search.run(["--help"]) == 0
    said = capsys.readouterr().out
    assert "dqn, ppo, ppo_continuous, rainbow, reinforce" in said
    assert "prune_seeds" in said


def test_a_small_search_trains_and_continues_after_another_command(spaces, tiny, capsys):
    words = ["algo=reinforce", "env=cartpole", "space=mine", "seeds=1", "verify=0", "jobs=2"]
    words += [w for w in tiny if not w.startswith("quiet")]
    assert rl_search.run([*words, "trials=2"]) == 0
    assert rl_search.run([*words, "trials=3"]) == 0
    record = search_record.load(Path("runs/searches/reinforce_cartpole"))
    assert [t.state for t in record.trials] == ["complete"] * 3
    assert record.trials[0].keys == {"algo.learning_rate": record.defaults["algo.learning_rate"]}
    for trial in record.trials:
        (run,) = trial.runs
        config = yaml.safe_load((Path(run.folder) / "config.yaml").read_text())
        assert config["algo"]["learning_rate"] == trial.keys["algo.learning_rate"]
        status = json.loads((Path(run.folder) / "status.json").read_text())
        assert trial.values == [status["eval_return"]]
    assert rl_search.run([*words, "trials=3", "algo.gamma=0.9"]) == 2
    assert "algo.gamma was" in capsys.readouterr().err


def test_a_preset_gives_the_run_that_was_found(here, capsys):
    words = ["algo=ppo", "env=cartpole", "total_timesteps=7000"]
    composer = Composer(words, [CONF])
    composer.preset, composer.study = None, "s"
    values = {"algo.learning_rate": 0.0123, "algo.hidden_sizes": [8], "env.num_envs": 2}
    wanted = composer.configure(values)
    path = composer.write_preset(values, ["IQM 1."])
    assert path == "conf/hparams/ppo_cartpole_found.yaml"  # ppo_cartpole is shipped
    assert composer.write_preset(values, ["IQM 1."]) == path  # the same study replaces its file
    composer.study = "other"
    assert composer.write_preset(values, []) == "conf/hparams/ppo_cartpole_found_2.yaml"
    found = Composer([*words[:2], "hparams=ppo_cartpole_found"], [CONF, here / "conf"])
    config = found.configure({})
    assert config["algo"] == wanted["algo"]
    assert config["env"] == wanted["env"]
    assert config["total_timesteps"] == 7000
    check([*words[:2], "hparams=ppo_cartpole_found"])
    text = Path(path).read_text()
    assert text.startswith(
        "# @package _global_\n# status: searched\n# Found by rl-search, study s.\n"
    )
    assert "reward_gamma" not in text  # an interpolation is not written out
    Path(path).rename("conf/hparams/ppo_mine.yaml")
    assert preset_status("ppo", "mine", [here / "conf"]) == "found by rl-search"


def test_words_of_a_search_are_not_those_of_its_runs():
    own, words = rl_search._split(["algo=ppo", "trials=1k", "space=mine", "seed=3", "jobs=2"])
    assert own == {"trials": "1000", "space": "mine"}
    assert words == ["algo=ppo", "seed=3", "jobs=2"]
    assert compose.plain(words) == words
