"""Every YAML file composes, and a value that does not fit the schema is refused with its key."""

from __future__ import annotations

import dataclasses
import functools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.algos.reinforce import Reinforce
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.config.commands import PlayConfig, ReplayConfig
from rl_cli.config.run import EvalConfig, RunSettings
from rl_cli.config.schema import build, keys, schema
from rl_cli.core import plugins
from rl_cli.core.errors import BadInput, nearest
from tests.conftest import REPO

CONF = REPO / "conf"
ALGOS = sorted(p.stem for p in (CONF / "algo").glob("*.yaml"))
ENVS = sorted(p.stem for p in (CONF / "env").glob("*.yaml") if p.stem[0] != "_")
HPARAMS = sorted(p.stem for p in (CONF / "hparams").glob("*.yaml"))
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))


def compose(*overrides, config_name="config"):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra_compose(config_name, list(overrides))
    return OmegaConf.to_container(cfg, resolve=True)


def checked(config):
    """The typed configuration of a run, and that of its algorithm."""
    cfg = algos.build_run_config(config)
    return cfg, cfg.algo


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("algo", ALGOS)
def test_every_pair_of_algorithm_and_env_composes(algo, env):
    no_id = "id: ???" in (CONF / f"env/{env}.yaml").read_text() or env == "custom"
    extra = ["env.id=Any-v0"] if no_id else []
    cfg = algos.build_run_config(compose(f"algo={algo}", f"env={env}", *extra))
    assert type(cfg.algo) is algos.config_class(cfg.algo.name)
    assert cfg.env.reward_gamma == cfg.algo.gamma  # by interpolation


@pytest.mark.parametrize("name", HPARAMS)
def test_hparams_belong_to_an_existing_pair_and_change_a_value(name):
    if name == "none":
        return
    algo, env = name.split("_", 1)
    assert algo in ALGOS
    assert env in ENVS
    named = [f"algo={algo}", f"env={env}", "env.id=Any-v0"]
    assert compose(*named) != compose(*named, "hparams=none")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name):
    algos.build_run_config(compose(f"experiment={name}"))


def test_command_line_overrides_hparams():
    config = compose("algo=ppo", "env=cartpole", "algo.num_epochs=3")
    assert config["algo"]["num_epochs"] == 3
    assert config["algo"]["rollout_length"] == 32  # still tuned


def test_experiment_overrides_hparams():
    config = compose("algo=ppo", "env=lunarlander", "experiment=smoke")
    assert config["total_timesteps"] == 2_000
    assert config["algo"]["gamma"] == 0.999  # still tuned


def test_eval_yaml_composes():
    assert build(ReplayConfig, compose(config_name="eval")).episodes == 100


def eval_values(**changes):
    return {"every": 1, "every_episodes": 0, "episodes": 1, "seed": 0, "greedy": True} | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evry": 1}, ["unknown key eval.evry", "did you mean eval.every"]),
        ({"every": "often"}, ["eval.every", '"often"', "int"]),
        ({"every": 1.5}, ["eval.every=1.5", "int"]),
        ({"every": True}, ["eval.every=true", "int"]),
        ({"every": -1}, ["eval.every=-1", "[0, inf)"]),
        ({"every": None}, ["eval.every=null", "int"]),
        ({"greedy": 1}, ["eval.greedy=1", "bool"]),
        ({"greedy": "yes"}, ["eval.greedy", "bool"]),
        ({"every": float("nan")}, ["eval.every=NaN"]),
    ],
)
def test_wrong_value_is_refused_with_its_key(changes, words):
    with pytest.raises(BadInput) as caught:
        build(EvalConfig, eval_values(**changes), "eval")
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert len(text.splitlines()) <= 3


def test_missing_value_is_refused_with_its_key():
    values = eval_values()
    del values["episodes"]
    with pytest.raises(BadInput, match=r"eval\.episodes has no value"):
        build(EvalConfig, values, "eval")


def test_integer_accepts_exponent_notation():
    assert build(EvalConfig, eval_values(every=1e6), "eval").every == 1_000_000


@pytest.mark.parametrize("name", ALGOS)
def test_float_refuses_infinity(name):
    values = compose(f"algo={name}", "hparams=none")["algo"] | {"learning_rate": float("inf")}
    with pytest.raises(BadInput, match=r"algo\.learning_rate"):
        build(algos.config_class(values["name"]), values, "algo")


def test_config_is_frozen():
    cfg = build(EvalConfig, eval_values())
    with pytest.raises(AttributeError):
        cfg.every = 2  # type: ignore[misc]


def test_run_config_has_the_typed_config_of_its_algorithm():
    cfg = algos.build_run_config(compose("algo=rainbow", "env=cartpole", "algo.n_step=5"))
    assert type(cfg.algo) is algos.load("dqn").Config
    assert (cfg.algo.n_step, cfg.algo.name, cfg.env.id) == (5, "dqn", "CartPole-v1")
    changed = dataclasses.replace(cfg, quiet=True)
    assert changed.quiet
    assert changed.algo is cfg.algo


@pytest.mark.parametrize(
    ("algo", "message"),
    [
        (None, "algo is a group of keys"),
        (5, "algo is a group of keys"),
        ({}, "unknown algorithm None"),
        ({"name": "dqnn"}, "unknown algorithm dqnn"),
        ({"name": "dqn"}, "algo.gamma has no value"),
        ({"name": 3}, "unknown algorithm 3"),
    ],
)
def test_run_config_refuses_wrong_algo_group(algo, message):
    with pytest.raises(BadInput, match=message):
        algos.build_run_config(base_values() | {"algo": algo})


def test_run_config_refuses_missing_algo_group():
    values = base_values()
    del values["algo"]
    with pytest.raises(BadInput, match="algo is a group of keys"):
        algos.build_run_config(values)


def test_algorithm_error_comes_before_the_error_of_its_interpolation():
    """env.reward_gamma copies algo.gamma; the message names the key that was typed."""
    with pytest.raises(BadInput) as caught:
        algos.build_run_config(compose("algo.gamma=2"))
    assert caught.value.where == "algo.gamma=2"


@pytest.mark.parametrize("name", algos.names())
def test_config_class_is_the_one_of_the_loaded_algorithm(name):
    assert algos.config_class(name) is algos.load(name).Config
    assert algos.summary(name).endswith(".")


def test_installed_algorithm_has_its_own_config_class(monkeypatch):
    @schema
    class MineConfig(AlgoConfig):
        power: int

    class Mine(Reinforce):
        """Mine, in one line.

        And more.
        """

        Config = MineConfig

    class Entry:
        def load(self):
            return Mine

    monkeypatch.setattr(plugins, "_installed", lambda group: {"mine": Entry()})
    assert "mine" in algos.names()
    assert algos.config_class("mine") is MineConfig
    assert algos.summary("mine") == "Mine, in one line."
    values = base_values()
    shared = {key: values["algo"][key] for key in keys(AlgoConfig)}
    cfg = algos.build_run_config(values | {"algo": shared | {"name": "mine", "power": 3}})
    assert type(cfg.algo) is MineConfig
    assert cfg.algo.power == 3


@pytest.mark.parametrize(
    "config_class",
    [RunSettings, ReplayConfig, PlayConfig, AlgoConfig, *map(algos.config_class, algos.names())],
)
def test_every_key_has_a_description_and_a_type(config_class):
    for name, key in keys(config_class).items():
        assert key.doc, name
        assert key.type, name


def test_lists_are_described_and_asked_for_as_lists():
    found = keys(RunSettings)
    assert found["env.log_info"].type == "[str, ...]"
    assert found["env.obs_keys"].type == "[str, ...] | null"
    assert keys(algos.config_class("ppo"))["encoder_channels"].type == "[int, ...] | null"
    with pytest.raises(BadInput, match=r"env.log_info must be \[str, ...\]"):
        algos.build_run_config(compose("env.log_info=distance"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), value=JSON)
def test_any_value_is_kept_unchanged_or_refused(data, value):
    """No exception but BadInput, and no implicit conversion."""
    name = data.draw(st.sampled_from(sorted(keys(RunSettings))))
    values = base_values()
    del values["algo"]
    *path, leaf = name.split(".")
    node = values
    for part in path:
        node = node[part]
    node[leaf] = value
    try:
        cfg = build(RunSettings, values)
    except BadInput as error:
        assert name.split(".")[0] in str(error)  # noqa: PT017  (either outcome is right)
        assert len(str(error).splitlines()) <= 12  # noqa: PT017
        return
    for part in name.split("."):
        cfg = getattr(cfg, part)
    assert json.loads(json.dumps(cfg)) == json.loads(json.dumps(value))


@functools.cache
def base_text():
    return json.dumps(compose("hparams=none"))


def base_values():
    """A new copy of the default configuration of a run."""
    return json.loads(base_text())


def test_nearest_finds_similar_word():
    assert nearest("learning_rat", ["gamma", "learning_rate"]) == "learning_rate"
    assert nearest("xyz", ["gamma", "learning_rate"]) is None
