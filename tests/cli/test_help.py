"""`--help`, and what the commands import before they need it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import keys
from tests.config.test_config import ALGOS, ENVS
from tests.conftest import REPO

AT_THE_FIRST_STEP = """
import os, sys
from hydra._internal.config_loader_impl import ConfigLoaderImpl as Loader
from rl_cli.envs import vector
from rl_cli.cli import train
original, composed = Loader.load_configuration, []
def load(self, *args, **kwargs):
    composed.append(1)
    return original(self, *args, **kwargs)
def step(self, action):
    late = [m for m in sys.modules if m.startswith(("tensorboard", "torch.utils.tensorboard"))]
    print(len(composed), late, flush=True)
    os._exit(0)
Loader.load_configuration, vector.VectorEnv.step = load, step
train.run(sys.argv[1:])
"""


def test_first_step_needs_one_composition_and_no_tensorboard(here):
    args = [sys.executable, "-c", AT_THE_FIRST_STEP, "experiment=smoke", "log.tensorboard=true"]
    done = subprocess.run(args, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 []"


@pytest.mark.parametrize("program", ["train", "evaluate", "play"])
def test_help_imports_no_torch_and_no_gymnasium(program):
    code = (
        f"import sys; from rl_cli.cli.{program} import run; assert run(['--help']) == 0;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'gymnasium')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


CONFIG_MODULES = sorted(p.stem for p in (REPO / "rl_cli/config").glob("*.py"))


def test_config_cli_and_the_table_of_algorithms_import_no_torch():
    modules = [f"rl_cli.config.{name}" for name in CONFIG_MODULES]
    modules += [f"rl_cli.cli.{p.stem}" for p in (REPO / "rl_cli/cli").glob("*.py")]
    modules += ["rl_cli.training.experiment", "rl_cli.evaluation.replay", "rl_cli.evaluation.play"]
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
        "from rl_cli import algos\n"
        "assert algos.names() == sorted(algos.names())\n"
        "[(algos.config_class(n), algos.summary(n)) for n in algos.names()]\n"
        "assert 'torch' not in sys.modules, 'algos'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_lists_every_choice_and_describes_every_key(invoke):
    code, out, _ = invoke(rl_train.run, "--help")
    assert code == 0
    for name in [*ALGOS, *ENVS]:
        assert re.search(rf"^  {name} ", out, re.MULTILINE), name
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    for name, key in {**keys(RunSettings), **keys(AlgoConfig, "algo")}.items():
        assert key.doc in lines[name]
        assert key.interval in lines[name]
    assert re.search(r"^eval\.every +int +\[0, inf\) +10000 ", out, re.MULTILINE)


def test_help_of_one_algorithm_omits_the_others(invoke):
    _, out, _ = invoke(rl_train.run, "algo=ppo", "--help")
    assert "algo.clip_coef" in out
    assert "algo.buffer_size" not in out


def test_help_of_rainbow_lists_the_keys_of_dqn(invoke):
    _, out, _ = invoke(rl_train.run, "algo=rainbow", "--help")
    assert "algo.n_step" in out
    assert "algo.clip_coef" not in out


def test_eval_help_describes_every_key(invoke):
    code, out, _ = invoke(rl_eval.run, "--help")
    assert code == 0
    assert re.search(r"^episodes +int +\[1, inf\) +100 ", out, re.MULTILINE)
