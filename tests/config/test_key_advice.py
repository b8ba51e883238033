"""Advice in error messages can be followed; keys without effect; presets and algorithms."""

from __future__ import annotations

import copy
import functools
import re

import pytest

from rl_cli import algos
from rl_cli.algos.factory import make_algorithm
from rl_cli.cli import config_groups, hydra_errors, recorded_runs
from rl_cli.cli import train as rl_train
from rl_cli.cli.train_task import TrainTask
from rl_cli.config.schema import keys
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, EnvSpec, ObsPart
from rl_cli.models.image_encoders import NatureCNN
from tests.config.test_config import ALGOS, EXPERIMENTS, compose

CONTRADICTIONS = [
    ("dqn", "algo.epsilon_decay=exponential algo.epsilon_end=0"),
    ("rainbow", "algo.epsilon_decay=exponential"),
    ("dqn", "algo.batch_size=50 algo.buffer_size=20"),
    ("dqn", "algo.target_update_every=0 algo.bootstrap=double"),
    ("dqn", "algo.target_update_every=0 algo.tau=0.5"),
    ("rainbow", "algo.loss=mse"),
    ("dqn", "algo.distributional=qr algo.bootstrap=expected_sarsa"),
    ("dqn", "algo.distributional=c51 algo.v_min=1 algo.v_max=1"),
    ("dqn", "algo.distributional=c51 algo.v_min=1 algo.v_max=-300"),
    ("dqn", "algo.layer_norm=true algo.hidden_sizes=[8,1]"),
    ("dqn", "algo.sort_every=5"),
    ("ppo", "algo.rollout_episodes=5"),
    ("ppo", "algo.rollout_length=null"),
    ("ppo", "algo.std=state_dependent algo.log_std_init=3"),
    ("ppo", "algo.shared_network=true algo.vf_learning_rate=0.1"),
    ("ppo", "algo.shared_network=true algo.hidden_sizes=[]"),
    ("reinforce", "algo.baseline=none"),
    ("reinforce", "algo.baseline=mean"),
    ("dqn", "workers=3"),
    ("dqn", "stop.eval_return=3 eval.every=0"),
    ("dqn", "env.sign_reward=true env.normalize_reward=true"),
]


@functools.cache
def plain_values(algo):
    return compose(f"algo={algo}", "hparams=none")


def typed(algo, words):
    """The typed configuration of a command line without tuned values."""
    config, known = copy.deepcopy(plain_values(algo)), hydra_errors.training_keys([f"algo={algo}"])
    for word in words:
        recorded_runs.set_value(config, *hydra_errors.parsed(word, known))
    return algos.build_run_config(config)


@pytest.mark.parametrize(("algo", "words"), CONTRADICTIONS)
def test_contradiction_names_its_keys_and_its_advice_resolves_it(algo, words):
    with pytest.raises(BadInput) as caught:
        typed(algo, words.split())
    where, fix = caught.value.where, caught.value.fix
    assert set(re.findall(r"([\w.]+)=", words)) <= set(re.findall(r"([\w.]+)=", where))
    for way in fix.split(", or "):
        advised = re.findall(r"[\w.]+=\S+", way)
        assert advised, fix
        typed(algo, [*words.split(), *advised])  # raises no error


# Keys without effect


@pytest.mark.parametrize("algo", ALGOS)
def test_unused_keys_are_existing_keys(algo):
    cfg = typed(algo, []).algo
    known = keys(type(cfg), "algo")
    for _, unused, others in cfg.unused_keys():
        assert {f"algo.{name}" for name in (*unused, *others)} <= set(known)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("algo=dqn algo.priority_alpha=0.5", "algo.priority_alpha: algo.replay=uniform"),
        ("algo=dqn algo.replay=softmax algo.priority_beta=0.5", "algo.priority_beta: algo.replay=softmax"),
        ("algo=dqn algo.v_min=0", "algo.v_min: algo.distributional=none"),
        ("algo=dqn algo.num_atoms=5", "algo.num_atoms: algo.distributional=none"),
        ("algo=dqn algo.distributional=qr algo.num_atoms=5", ""),
        ("algo=dqn algo.distributional=qr algo.v_max=5", "algo.v_max: algo.distributional=qr"),
        ("algo=rainbow algo.loss=huber", "algo.loss: algo.distributional=c51"),
        ("algo=rainbow algo.v_min=0 algo.priority_alpha=1", ""),
        ("algo=dqn algo.epsilon_factor=0.9 algo.epsilon_steps=5", "algo.epsilon_steps: algo.epsilon_factor=0.9"),
        ("algo=rainbow algo.epsilon_steps=5", "algo.epsilon_steps: algo.epsilon_start=0 algo.epsilon_end=0"),
        ("algo=dqn algo.epsilon_steps=5", ""),
        ("algo=dqn algo.target_update_every=0 algo.tau=1", "algo.tau: algo.target_update_every=0"),
        ("algo=ppo algo.sde_sample_every=8", "algo.sde_sample_every: algo.std=learned"),
        ("algo=ppo algo.std=annealed algo.ent_coef=0.1", "algo.ent_coef: algo.std=annealed"),
        ("algo=ppo algo.advantage=monte_carlo algo.gae_lambda=1", "algo.gae_lambda: algo.advantage=monte_carlo"),
        ("algo=ppo algo.anneal_ent_coef=true", "algo.anneal_ent_coef: algo.ent_coef=0"),
        ("algo=reinforce algo.baseline_decay=0.5", "algo.baseline_decay: algo.baseline=value"),
    ],
)  # fmt: skip
def test_without_effect_names_the_cause(words, expected):
    names = [word.split("=")[0] for word in words.split()]
    group, *rest = words.split()
    found = typed(group.removeprefix("algo="), rest).algo.without_effect()
    assert [f"{k}: {found[k]}" for k in names if k in found] == ([expected] if expected else [])


def notes(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]


def test_typed_key_without_effect_is_noted_once(here, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["rl-train"])
    line = "note: algo.priority_alpha has no effect with algo.replay=uniform"
    assert rl_train.run(["algo.priority_alpha=0.5", "env.id=NoSuch-v0"]) == 2
    assert notes(capsys) == [line]
    assert rl_train.run(["env.id=NoSuch-v0"]) == 2
    assert notes(capsys) == []
    assert rl_train.run(["jobs=2", "env.id=NoSuch-v0"]) == 2
    assert notes(capsys) == ["note: jobs=2 has no effect without a sweep: -m or sweep="]
    assert rl_train.run(["retries=1", "gpus=0,1", "env.id=NoSuch-v0"]) == 2
    assert [line.split()[1] for line in notes(capsys)] == ["retries=1", "gpus=[0,1]"]
    task = TrainTask(here)
    for replay in ("uniform", "proportional", "uniform"):  # as the jobs of a sweep
        cfg = typed("dqn", [f"algo.replay={replay}"]).algo
        task._note_without_effect(cfg, [f"algo.replay={replay}", "algo.priority_alpha=0.5"])
    assert notes(capsys) == [line]


# Presets


def test_preset_with_another_algorithm_is_refused(here):
    def refusal(*words):
        with pytest.raises(BadInput) as caught:
            config_groups.refuse_another_algorithm(list(words), [config_groups.CONF])
        return caught.value

    error = refusal("experiment=cartpole_dqn_replay", "algo=ppo")
    assert error.what == "experiment=cartpole_dqn_replay is a preset of algo=dqn"
    assert error.where == "experiment=cartpole_dqn_replay algo=ppo"
    assert error.fix == "remove algo=ppo, or the preset: rl-train algo=ppo env=cartpole"
    assert "env=acrobot" in refusal("experiment=fast_cartpole", "algo=dqn", "env=acrobot").fix
    assert "algo=reinforce" in refusal("experiment=cartpole_sarsa", "algo=dqn,reinforce").where


@pytest.mark.parametrize(
    "words",
    [
        "experiment=smoke algo=ppo",
        "experiment=smoke algo=reinforce",
        "experiment=lunarlander_windy algo=dqn",  # sets no key of an algorithm
        "experiment=lunarlander_windy_dqn algo=rainbow",  # a variant of the same algorithm
        "experiment=cartpole_dqn_replay algo=dqn",
        "experiment=cartpole_dqn_replay algo='dqn'",
    ],
)
def test_preset_with_compatible_algorithm_composes(words):
    config_groups.refuse_another_algorithm(words.split(), [config_groups.CONF])
    algos.build_run_config(compose(*words.split()))


def test_preset_in_user_folder_is_checked_like_shipped_ones(here):
    (here / "experiment").mkdir()
    path = here / "experiment/mine.yaml"
    path.write_text("defaults: [override /algo: ppo]\nalgo: {clip_coef: 0.3}\n")
    with pytest.raises(BadInput, match="mine is a preset of algo=ppo"):
        config_groups.refuse_another_algorithm(
            ["experiment=mine", "algo=dqn"], [config_groups.CONF, here]
        )
    for text in ("defaults: 3\nalgo: {}\n", "- 3\n", "algo: [", "defaults: [_self_]\nalgo: {}\n"):
        path.write_text(text)
        config_groups.refuse_another_algorithm(
            ["experiment=mine", "algo=dqn"], [config_groups.CONF, here]
        )


def test_help_describes_each_preset(capsys):
    assert rl_train.run(["--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in EXPERIMENTS:
        second = (config_groups.CONF / f"experiment/{name}.yaml").read_text().splitlines()[1]
        text = second.removeprefix("# ").split(":")[0]
        assert f" {name} {text} " in out
        assert 10 < len(text) < 70


# Titles


def test_title_is_rainbow_only_with_all_its_extensions():
    pairs = {a: typed(a, []).algo.title for a in ALGOS}
    assert pairs == {name: name for name in ALGOS}
    assert typed("rainbow", ["algo.noisy=false"]).algo.title == "dqn"
    cfg = typed("rainbow", []).algo
    spec = EnvSpec((3,), "float32", ActionSpec("box", (1,)), 1)
    with pytest.raises(BadInput, match="rainbow supports discrete actions") as caught:
        make_algorithm(algos.load("dqn"), cfg, spec, 10, 0, "cpu")
    assert caught.value.where == "algo=rainbow"


def image(*size):
    return ObsPart("", (3, *size), "uint8", 0.0, 255.0)


def test_too_small_pixel_observations_are_refused_with_their_size():
    assert NatureCNN(image(36, 36), "encoder").flat == 64
    with pytest.raises(BadInput, match="35 x 80 pixels are too small") as caught:
        NatureCNN(image(35, 80), "encoder")
    assert caught.value.fix == "algo.encoder=auto, or env.resize=84"


def test_value_out_of_range_is_refused_with_the_description_of_its_key():
    with pytest.raises(BadInput) as caught:
        algos.build_run_config(plain_values("dqn") | {"threads": 0})
    assert caught.value.where == "threads=0"
    assert caught.value.fix.startswith("threads: int in [1, 256]")
