"""An algorithm in an installed package: its YAML files are found there; a damaged package harms nothing else."""

import sys
from importlib.metadata import EntryPoint

import pytest
import yaml

from rl_cli import algos
from rl_cli.cli import train as rl_train
from rl_cli.cli.config_groups import package_folders
from rl_cli.core import plugins

CODE = '''
from rl_cli.algos.reinforce import Reinforce, ReinforceConfig
from rl_cli.config.schema import Field, schema

@schema
class BoundedConfig(ReinforceConfig):
    bound: float = Field(gt=0, description="bound of rewards")

class Bounded(Reinforce):
    """REINFORCE of the lab."""
    Config = BoundedConfig
'''
LACKING = """
from rl_cli.algos.base import Algorithm
from rl_cli.config.algorithm import AlgoConfig

class NoConfig(Algorithm):
    supports = ("discrete",)

class Unread(AlgoConfig):
    bound: float = 1.0

class NoSchema(NoConfig):
    Config = Unread

class NoKinds(Algorithm):
    Config = AlgoConfig

class NoMethods(NoConfig):
    Config = AlgoConfig
    def act(self, obs, step):
        return obs
"""
FILES = {
    "__init__.py": "",
    "bounded.py": CODE,
    "lacking.py": LACKING,
    "exits.py": "raise SystemExit(3)",
    "conf/algo/bounded.yaml": "defaults: [reinforce, _self_]\nname: bounded\nbound: 2.0\n",
    "conf/hparams/bounded_cartpole.yaml": "# @package _global_\nalgo: {bound: 0.5}\n",
    "conf/experiment/lab.yaml": "# @package _global_\n# A short run.\ndefaults:\n"
    "  - override /algo: bounded\n  - override /env: acrobot\n  - _self_\ntotal_timesteps: 150\n",
}
ENTRIES = {
    "bounded": "lab_algos.bounded:Bounded",
    "bare": "lab_algos.bounded:Bounded",
    "broken": "lab_algos.no_such_module:Broken",
    "gone": "no_such_package.algos:Gone",
    "exits": "lab_algos.exits:Any",
}
PROBLEMS = {
    "NoConfig": "has no Config, a subclass of AlgoConfig",
    "NoSchema": "has keys in Unread that are not read: the class needs @schema",
    "NoKinds": "does not name in supports the kinds of action that it takes",
    "NoMethods": "does not define predict, update",
}
ENTRIES |= {name.lower(): f"lab_algos.lacking:{name}" for name in PROBLEMS}


@pytest.fixture
def package(here, monkeypatch):
    for name, text in FILES.items():
        path = here / "site/lab_algos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(here / "site")
    found = {n: EntryPoint(n, target, "rl_cli.algos") for n, target in ENTRIES.items()}
    real = plugins._installed
    monkeypatch.setattr(plugins, "_installed", lambda g: found if g == "rl_cli.algos" else real(g))
    yield here
    for name in [name for name in sys.modules if name.startswith("lab_algos")]:
        del sys.modules[name]


def recorded(folder, words, tiny):
    kept = [word for word in tiny if word.split("=")[0] not in "total_timesteps"]
    assert rl_train.run([*words, *kept, f"run_dir={folder}"]) == 0
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_values_presets_and_experiments_come_from_the_package(package, tiny):
    config = recorded(package / "a", ["algo=bounded", "env=cartpole", "total_timesteps=100"], tiny)
    assert config["algo"]["bound"] == 0.5
    config = recorded(package / "b", ["experiment=lab"], tiny)
    assert (config["algo"]["bound"], config["env"]["id"]) == (2.0, "Acrobot-v1")
    assert config["total_timesteps"] == 150


def test_help_shows_what_works_and_names_what_does_not(package, capfd):
    assert rl_train.run(["--help"]) == 0
    text = capfd.readouterr().out
    assert "REINFORCE of the lab." in text
    assert "algo.bound                2.0" in text
    assert "the algorithm broken cannot be imported" in text
    assert "A short run." in text
    for name, problem in PROBLEMS.items():
        assert f"the algorithm {name.lower()} {problem}" in " ".join(text.split())
    assert rl_train.run(["--cfg", "job", "algo=ppo"]) == 0


def test_algorithm_without_yaml_is_named_as_such(package, capfd):
    assert rl_train.run(["algo=bare", "env=cartpole"]) == 2
    what, _, fix = capfd.readouterr().err.splitlines()
    assert what == "error: the package of the algorithm bare has no file bare.yaml with its values"
    assert fix == "  do: add <package>/conf/algo/bare.yaml, or conf/algo/bare.yaml here"


def test_unknown_key_is_answered_in_spite_of_damaged_packages(package, capfd):
    assert rl_train.run(["algo=ppo", "algo.bound=3"]) == 2
    assert "a key of algo=bare and algo=bounded" in capfd.readouterr().err
    assert set(algos.names()) - set(algos.usable()) == {
        "broken",
        "gone",
        "exits",
        *map(str.lower, PROBLEMS),
    }


def test_folders_of_packages_are_found_without_importing_them(package):
    assert package_folders() == [package / "site/lab_algos/conf"]
    assert "lab_algos" not in sys.modules
