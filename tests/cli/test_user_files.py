"""The user's own configuration files: what is ignored or wrong in them is reported."""

from __future__ import annotations

import pytest

from rl_cli.cli import play as rl_play
from rl_cli.cli import train as rl_train
from rl_cli.cli.config_groups import CONF

STOP = "threads=0"
"""A value that is refused after the files were read."""
PACKAGE = "# @package _global_\n"
ENV = "defaults: [_base, _self_]\nid: CartPole-v1\n"


@pytest.fixture
def write(here):
    def _write(name, text):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return _write


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hparams/dqn_mine", ["env=mine"]),
        ("hparams/other", ["hparams=other"]),
        ("experiment/mine", ["experiment=mine"]),
        ("sweep/mine", ["-m", "sweep=mine"]),
    ],
)
def test_missing_package_line_is_named(write, invoke, name, words):
    write("conf/env/mine.yaml", ENV)
    write(f"conf/{name}.yaml", "total_timesteps: 7\n")
    code, _, err = invoke(rl_train.run, *words, STOP)
    assert code == 2
    assert f"conf/{name}.yaml" in err
    assert "the first line must be: # @package _global_" in err
    write(f"conf/{name}.yaml", f"# mine\n{PACKAGE}total_timesteps: 7\n")  # Hydra ignores this one
    assert "must be" in invoke(rl_train.run, *words, STOP)[2]
    write(f"conf/{name}.yaml", f"\n{PACKAGE}total_timesteps: 7\n")
    assert "threads=0" in invoke(rl_train.run, *words, STOP)[2]


def test_file_that_an_experiment_chooses_is_checked(write, invoke):
    write("more/env/mine.yaml", ENV)
    write("more/hparams/dqn_mine.yaml", "seed: 1\n")
    write("more/experiment/e.yaml", f"{PACKAGE}defaults: [override /env: mine]\n")
    code, _, err = invoke(rl_train.run, "--config-dir", "more", "experiment=e", STOP)
    assert (code, "more/hparams/dqn_mine.yaml" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("id: [\n", 2),
        ("defaults: [_base, _self_]\n\tid: CartPole-v1\n", 2),
        (f"{ENV}kwargs: {{}}\nkwargs: {{}}\n", 4),
        (f"{ENV}kwargs:\n  a: 1\n b: 2\n", 5),
    ],
)
def test_file_that_is_not_yaml_is_named_with_its_line(write, invoke, text, line):
    write("conf/env/broken.yaml", text)
    for main, word in ((rl_train.run, "algo=dqn"), (rl_play.run, "seed=0")):
        code, _, err = invoke(main, "env=broken", word)
        assert code == 2
        assert "not YAML" in err
        assert f"conf/env/broken.yaml, line {line}," in err
    assert invoke(rl_train.run, "env=cartpole", STOP)[2].count("broken") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [(b"id: Caf\xe9-v0\n", "not UTF-8"), ("- 1\n", "has no keys"), ("text\n", "has no keys")],
)
def test_file_without_keys_is_named(write, invoke, text, words):
    write("conf/env/broken.yaml", text)
    code, _, err = invoke(rl_train.run, "env=broken")
    assert (code, len(err.splitlines())) == (2, 3)
    assert words in err
    assert "conf/env/broken.yaml" in err


def test_file_with_the_name_of_a_shipped_one_is_noted(write, invoke):
    write("conf/env/cartpole.yaml", ENV.replace("CartPole", "Mine"))
    write("conf/hparams/dqn_cartpole.yaml", "seed: 1\n")
    write("conf/experiment/smoke.yaml", (CONF / "experiment/smoke.yaml").read_text())  # the same
    write("conf/env/acrobot.yaml", "id: X-v0\n")
    for words in (["env=cartpole"], [], ["experiment=smoke"]):
        _, _, err = invoke(rl_train.run, *words, STOP)
        notes = [line.split()[1] for line in err.splitlines() if "not used" in line]
        assert notes == ["conf/env/cartpole.yaml", "conf/hparams/dqn_cartpole.yaml"]


def test_missing_config_dir_is_refused(invoke, here):
    (here / "file").write_text("")
    for main, words in (
        (rl_train.run, ["--config-dir", "nowhere"]),
        (rl_train.run, ["--config-dir=file", "-m", "seed=1,2"]),
        (rl_play.run, ["--config-dir=nowhere"]),
    ):
        code, _, err = invoke(main, *words)
        assert code == 2
        assert "no such folder" in err
        assert "--config-dir" in err


@pytest.mark.parametrize("value", ["9" * 5000, "2020-99-99", "!!binary aGVsbG8="])
def test_value_that_no_key_takes_is_refused(write, invoke, value):
    write("conf/experiment/mine.yaml", f"{PACKAGE}seed: {value}\n")
    code, _, err = invoke(rl_train.run, "experiment=mine")
    assert code == 2
    assert len(err.splitlines()) == 3
