"""`--help`, and what the commands import before they need it."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys

import pytest
import yaml

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import export as rl_export
from rl_cli.cli import play as rl_play
from rl_cli.cli import report as rl_report
from rl_cli.cli import runs as rl_runs
from rl_cli.cli import search as rl_search
from rl_cli.cli import train as rl_train
from rl_cli.cli.layout import value_text
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import keys
from tests.config.test_config import ALGOS, CONF, ENVS, EXPERIMENTS, compose
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


EVERY = [rl_train, rl_eval, rl_play, rl_export, rl_report, rl_runs, rl_search]


@pytest.mark.parametrize("program", EVERY)
def test_every_command_has_a_version_and_completes(program, here, capsys):
    assert program.run(["--version"]) == 0
    assert re.fullmatch(r"rl-cli \d+\.\d+.*\n", capsys.readouterr().out)
    name = f"rl-{program.__name__.rpartition('.')[2].replace('evaluate', 'eval')}"
    assert program.run(["--complete", "zsh", f"{name} "]) == 0
    assert any(word.endswith("=") for word in capsys.readouterr().out.split())


def test_help_shows_the_values_of_an_experiment(here, capsys):
    assert rl_train.run(["experiment=fast_cartpole", "--help"]) == 0
    preset = yaml.safe_load((CONF / "experiment/fast_cartpole.yaml").read_text())
    words = " ".join(capsys.readouterr().out.split())
    assert f"total_timesteps {value_text(preset['total_timesteps'])}" in words
    assert "experiment/fast_cartpole.yaml" in words


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "a: &x [*x]", "defaults: 3\nname: ppo"])
def test_help_on_a_file_of_the_user_that_is_no_mapping(here, capsys, text):
    (here / "conf/algo").mkdir(parents=True)
    (here / "conf/algo/my.yaml").write_text(text)
    assert rl_train.run(["--help", "my"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


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


def words_of(text):
    return " ".join(text.split())


@pytest.fixture
def pages(monkeypatch):
    """The texts that are shown in a pager, on a terminal of 80 columns and 24 lines."""
    shown = []
    monkeypatch.setattr("pydoc.pager", shown.append)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return shown


def test_help_lists_every_choice_and_describes_every_key(invoke):
    code, out, _ = invoke(rl_train.run, "--help")
    assert code == 0
    for name in [*ALGOS, *ENVS, *EXPERIMENTS]:
        assert re.search(rf"^  {name}( |$)", out, re.MULTILINE), name
    for name, key in {**keys(RunSettings), **keys(AlgoConfig, "algo")}.items():
        assert re.search(rf"^{re.escape(name)} ", out, re.MULTILINE), name
        assert words_of(key.describe()) in words_of(out)  # also every choice of its type
    assert re.search(r"^eval\.every +10000\n    int in \[0, inf\); env steps", out, re.MULTILINE)


COMMANDS = [
    *(rl_train.run, rl_eval.run, rl_play.run, rl_export.run, rl_report.run, rl_runs.run),
    rl_search.run,
]


@pytest.mark.parametrize("main", COMMANDS)
def test_help_fits_80_columns(invoke, main):
    for words in (["--help"], ["-h", "algo=ppo", "env=lunarlander"]):
        _, out, _ = invoke(main, *words)
        assert [line for line in out.splitlines() if len(line) > 80] == []


def test_help_of_one_algorithm_omits_the_others(invoke):
    _, out, _ = invoke(rl_train.run, "algo=ppo", "--help")
    assert "algo.clip_coef" in out
    assert "algo.buffer_size" not in out


def test_help_of_rainbow_lists_the_keys_of_dqn(invoke):
    _, out, _ = invoke(rl_train.run, "algo=rainbow", "--help")
    assert "algo.n_step" in out
    assert "algo.clip_coef" not in out


def test_help_of_other_commands_has_only_what_is_theirs(invoke):
    code, out, _ = invoke(rl_eval.run, "--help")
    assert code == 0
    assert re.search(r"^episodes +100\n    int in \[1, inf\)", out, re.MULTILINE)
    assert not re.search(r"cartpole|algo=|total_timesteps|num_envs", out)
    code, out, _ = invoke(rl_play.run, "--help")
    assert code == 0
    assert re.search(r"^  cartpole +CartPole-v1$", out, re.MULTILINE)
    assert "env.frame_stack" in out
    assert not re.search(
        r"^(algo|total_timesteps|env\.num_envs|env\.normalize_obs)", out, re.MULTILINE
    )


@pytest.mark.parametrize(
    ("words", "shown", "hidden"),
    [
        ("--help algo", ["algo=<name>", "  rainbow", "algo.clip_coef", "ppo:0.2"], "eval.every"),
        ("--help env", ["env=<name>", "  acrobot", "env.num_envs"], "algo.gamma"),
        (
            "--help hparams",
            ["ppo_lunarlander", "tuned", "ppo_breakout", "published values"],
            "eval.every",
        ),
        ("--help experiment", ["fast_cartpole"], "eval.every"),
        ("--help algo.gamma", ["discount factor", "dqn:0.99 ppo:0.99"], "algo.tau"),
        ("--help=eval", ["eval.every", "eval.greedy"], "log.every"),
        ("--help gamma seed", ["algo.gamma", "seed of weights"], "algo.tau"),
        ("algo.gamma -h", ["discount factor"], "algo.tau"),
        ("--help n_steps", ["did you mean algo.rollout_length?", "algo.n_step"], "algo.tau"),
        ("--help ppo", ["algo=ppo: Proximal", "algo.clip_coef", "0.2"], "algo.buffer_size"),
        ("--help CartPole-v1", ["env=cartpole: CartPole-v1"], "algo.tau"),
        ("--help ppo_lunarlander", ["hparams=ppo_lunarlander: tuned", "gamma: 0.999"], "algo.tau"),
    ],
)
def test_help_on_a_topic(invoke, words, shown, hidden):
    code, out, err = invoke(rl_train.run, *words.split())
    assert (code, err) == (0, "")
    assert all(text in out for text in shown), out
    assert not re.search(rf"^{re.escape(hidden)} ", out, re.MULTILINE)


def test_help_on_an_unknown_topic_is_refused(invoke):
    code, out, err = invoke(rl_train.run, "--help", "algo.gama")
    assert (code, out, len(err.splitlines())) == (2, "", 3)
    assert "did you mean algo.gamma?" in err


def shown_values(text):
    """Key -> (value, source) of a help text with values."""
    found = re.findall(r"^([\w.]+) +(\S.*?)(?:  +(\S+\.yaml|command line))?$", text, re.MULTILINE)
    return {key: (value, source) for key, value, source in found if "." in source or " " in source}


@pytest.mark.parametrize(
    "words",
    ["algo=ppo env=lunarlander seed=7", "algo=rainbow env=pong", "algo=dqn env=cartpole"],
)
def test_help_shows_the_values_of_the_run_and_the_file_that_sets_each(invoke, words):
    code, out, _ = invoke(rl_train.run, *words.split(), "--help")
    assert code == 0
    values = shown_values(out)
    config = compose(*words.split())
    assert len(values) > 60
    for key, (value, source) in values.items():
        at = functools.reduce(dict.__getitem__, key.split("."), config)
        assert value == value_text(at), key
        if source.endswith(".yaml"):
            content = yaml.safe_load((CONF / source).read_text())
            content = {source.split("/")[0]: content} if source[:4] in ("algo", "env/") else content
            mine = functools.reduce(dict.__getitem__, key.split("."), content)
            assert (
                str(mine).startswith("${")
                or value_text(mine) in (value, f"{value:.3}")
                or (float(mine) == float(value))
            )
    if "seed=7" in words:
        assert values["seed"] == ("7", "command line")
        assert values["algo.gamma"] == ("0.999", "hparams/ppo_lunarlander.yaml")
        assert values["algo.clip_coef"] == ("0.2", "algo/ppo.yaml")
        assert values["env.id"] == ("LunarLander-v3", "env/lunarlander.yaml")
        assert "tuned: ppo_lunarlander" in words_of(out)
    elif "pong" in words:
        assert values["algo.dueling"] == ("true", "algo/rainbow.yaml")
        assert values["algo.batch_size"][1] == "algo/dqn.yaml"
        assert values["env.frame_stack"] == ("4", "env/_atari.yaml")


def test_help_with_values_of_a_wrong_command_line_says_so_and_shows_the_rest(invoke):
    code, out, err = invoke(rl_train.run, "algo=dqnn", "-h")
    assert code == 0
    assert "no algo called dqnn" in err
    assert "algo.gamma" in out


def test_long_help_is_paged_on_a_terminal_only(invoke, pages, monkeypatch):
    invoke(rl_train.run, "--help")
    assert pages == []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    code = rl_train.run(["--help"])
    assert (code, len(pages)) == (0, 1)
    assert "algo.gamma" in pages[0]
    for pager, kept in (("nosuchprogram -R", None), ("cat", "cat")):
        monkeypatch.setenv("PAGER", pager)
        rl_train.run(["--help"])
        assert (len(pages.pop()), os.environ.get("PAGER")) == (len(pages[0]), kept)
    rl_train.run(["--help", "algo.gamma"])  # fits the screen
    assert len(pages) == 1
