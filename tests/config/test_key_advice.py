"""What a person is told to do is right when it is done; keys typed for nothing; presets and algorithms."""

from __future__ import annotations

import copy
import functools
import re

import pytest

from rl_cli import algos
from rl_cli.algos.factory import make_algorithm
from rl_cli.cli import config_groups, hydra_errors
from rl_cli.cli import train as rl_train
from rl_cli.config.run import RunConfig
from rl_cli.config.schema import build, keys
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, EnvSpec
from rl_cli.models.networks import NatureCNN
from tests.config.test_config import ALGOS, EXPERIMENTS, checked, compose

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
    ("dqn", "algo.sort_every=5"),
    ("ppo", "algo.rollout_episodes=5"),
    ("ppo", "algo.rollout_length=null"),
    ("ppo", "algo.std=fixed algo.ent_coef=0.1"),
    ("ppo", "algo.std=state_dependent algo.log_std_init=3"),
    ("ppo", "algo.std=state_dependent algo.log_std_init=-30"),
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


def asked_for(algo, words):
    """The typed configuration of a command line without tuned values."""
    config = copy.deepcopy(plain_values(algo))
    for word in words:
        rl_train._set(config, *hydra_errors.parsed(word))
    return checked(config)


@pytest.mark.parametrize(("algo", "words"), CONTRADICTIONS)
def test_a_refusal_names_its_keys_and_whatever_it_advises_can_be_pasted(algo, words):
    with pytest.raises(BadInput) as caught:
        asked_for(algo, words.split())
    where, fix = caught.value.where, caught.value.fix
    assert set(re.findall(r"([\w.]+)=", words)) <= set(re.findall(r"([\w.]+)=", where))
    for way in fix.split(", or "):
        advised = re.findall(r"[\w.]+=\S+", way)
        assert advised, fix
        asked_for(algo, [*words.split(), *advised])  # nothing is refused any more


# Keys that do nothing


@pytest.mark.parametrize("algo", ALGOS)
def test_the_rules_name_keys_that_there_are(algo):
    _, cfg = asked_for(algo, [])
    known = keys(type(cfg), "algo")
    for _, idle, others in cfg.idle():
        assert {f"algo.{name}" for name in (*idle, *others)} <= set(known)


@pytest.mark.parametrize(
    ("words", "idle"),
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
        ("algo=ppo algo.advantage=monte_carlo algo.gae_lambda=1", "algo.gae_lambda: algo.advantage=monte_carlo"),
        ("algo=ppo algo.anneal_ent_coef=true", "algo.anneal_ent_coef: algo.ent_coef=0"),
        ("algo=reinforce algo.baseline_decay=0.5", "algo.baseline_decay: algo.baseline=value"),
    ],
)  # fmt: skip
def test_a_key_that_does_nothing_is_known(words, idle):
    typed = [word.split("=")[0] for word in words.split()]
    group, *rest = words.split()
    _, cfg = asked_for(group.removeprefix("algo="), rest)
    found = cfg.without_effect()
    assert [f"{k}: {found[k]}" for k in typed if k in found] == ([idle] if idle else [])


def noted(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]


def test_what_was_typed_for_nothing_is_noted_once_and_only_that(here, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["rl-train"])
    line = "note: algo.priority_alpha has no effect with algo.replay=uniform"
    assert rl_train.run(["algo.priority_alpha=0.5", "env.id=NoSuch-v0"]) == 2
    assert noted(capsys) == [line]
    assert rl_train.run(["env.id=NoSuch-v0"]) == 2
    assert noted(capsys) == []
    task = rl_train._Task(here)
    for replay in ("uniform", "proportional", "uniform"):  # as the jobs of a sweep
        config = {"algo": plain_values("dqn")["algo"] | {"replay": replay}}
        task._tell_idle(config, [f"algo.replay={replay}", "algo.priority_alpha=0.5"])
    assert noted(capsys) == [line]


# Presets


def test_a_preset_of_one_algorithm_is_not_mixed_with_another(here):
    def refusal(*words):
        with pytest.raises(BadInput) as caught:
            config_groups.refuse_another_algorithm(list(words), [config_groups.CONF])
        return caught.value

    told = refusal("experiment=cartpole_dqn_replay", "algo=ppo")
    assert told.what == "experiment=cartpole_dqn_replay is a preset of algo=dqn"
    assert told.where == "experiment=cartpole_dqn_replay algo=ppo"
    assert told.fix == "leave algo=ppo out, or the preset: rl-train algo=ppo env=cartpole"
    assert "env=acrobot" in refusal("experiment=fast_cartpole", "algo=dqn", "env=acrobot").fix
    assert "algo=reinforce" in refusal("experiment=cartpole_sarsa", "algo=dqn,reinforce").where


@pytest.mark.parametrize(
    "words",
    [
        "experiment=smoke algo=ppo",
        "experiment=smoke algo=reinforce",
        "experiment=lunarlander_windy algo=dqn",  # sets no key of an algorithm
        "experiment=lunarlander_windy_dqn algo=rainbow",  # switches of the same one
        "experiment=cartpole_dqn_replay algo=dqn",
        "experiment=cartpole_dqn_replay algo='dqn'",
    ],
)
def test_what_a_preset_goes_with_is_taken(words):
    config_groups.refuse_another_algorithm(words.split(), [config_groups.CONF])
    checked(compose(*words.split()))


def test_a_preset_of_a_persons_own_is_read_as_ours_are(here):
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


def test_help_says_what_each_preset_is_for(capsys):
    assert rl_train.run(["--help"]) == 0
    out = capsys.readouterr().out
    for name in EXPERIMENTS:
        (line,) = re.findall(rf"^  {name}  +(.*)$", out, re.MULTILINE)
        second = (config_groups.CONF / f"experiment/{name}.yaml").read_text().splitlines()[1]
        assert line == second.removeprefix("# ").split(":")[0]
        assert 10 < len(line) < 70


# Names


def test_rainbow_is_called_by_its_name_as_long_as_it_is_one():
    pairs = {a: asked_for(a, [])[1].title for a in ALGOS}
    assert pairs == {name: name for name in ALGOS}
    less = asked_for("rainbow", ["algo.noisy=false"])[1]
    assert less.title == "dqn"
    cfg = asked_for("rainbow", [])[1]
    spec = EnvSpec((3,), "float32", ActionSpec("box", (1,)), 1)
    with pytest.raises(BadInput, match="rainbow supports discrete actions") as caught:
        make_algorithm(algos.load("dqn"), cfg, spec, 10, 0, "cpu")
    assert caught.value.where == "algo=rainbow"


def test_pictures_too_small_for_the_convolutions_are_refused_by_size():
    assert NatureCNN((3, 36, 36)).flat == 64
    with pytest.raises(BadInput, match="35 x 80 pixels are too small") as caught:
        NatureCNN((3, 35, 80))
    assert caught.value.fix == "env.resize=84"


def test_all_numbers_of_a_configuration_are_refused_with_a_key(here):
    """A value out of range tells its key's meaning, not merely that something is wrong."""
    values = plain_values("dqn") | {"threads": 0}
    with pytest.raises(BadInput) as caught:
        build(RunConfig, values)
    assert caught.value.where == "threads=0"
    assert caught.value.fix.startswith("threads: int in [1, 256]")
