"""Every YAML composes, and what does not fit the schema is refused with the key's name."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rl_cli import algos
from rl_cli.cli import arguments
from rl_cli.cli import compose as compose_module
from rl_cli.config.commands import ReplayConfig
from rl_cli.config.run import EvalConfig, RunConfig
from rl_cli.config.schema import build, keys
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
    """The typed configuration, as `run.train` checks it."""
    run = build(RunConfig, config)
    return run, build(algos.load(run.algo["name"]).Config, run.algo, "algo")


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("algo", ALGOS)
def test_every_pair_of_algorithm_and_env_composes(algo, env):
    unnamed = "id: ???" in (CONF / f"env/{env}.yaml").read_text() or env == "custom"
    extra = ["env.id=Any-v0"] if unnamed else []
    run, cfg = checked(compose(f"algo={algo}", f"env={env}", *extra))
    assert run.env.reward_gamma == cfg.gamma  # the interpolation that ties them


@pytest.mark.parametrize("name", HPARAMS)
def test_tuned_values_change_something_and_name_a_real_pair(name):
    if name == "none":
        return
    algo, env = name.split("_", 1)
    assert algo in ALGOS
    assert env in ENVS
    named = [f"algo={algo}", f"env={env}", "env.id=Any-v0"]
    assert compose(*named) != compose(*named, "hparams=none")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name):
    checked(compose(f"experiment={name}"))


def test_the_command_line_wins_over_tuned_values():
    config = compose("algo=ppo", "env=cartpole", "algo.num_epochs=3")
    assert config["algo"]["num_epochs"] == 3
    assert config["algo"]["rollout_length"] == 32  # still tuned


def test_an_experiment_wins_over_tuned_values():
    config = compose("algo=ppo", "env=lunarlander", "experiment=smoke")
    assert config["total_timesteps"] == 2_000
    assert config["algo"]["gamma"] == 0.999  # still tuned


def test_rl_eval_composes():
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
def test_what_does_not_fit_is_refused_by_name(changes, words):
    with pytest.raises(BadInput) as caught:
        build(EvalConfig, eval_values(**changes), "eval")
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert len(text.splitlines()) <= 3


def test_a_missing_number_is_named():
    values = eval_values()
    del values["episodes"]
    with pytest.raises(BadInput, match=r"eval\.episodes has no value"):
        build(EvalConfig, values, "eval")


def test_whole_numbers_may_be_written_as_powers():
    assert build(EvalConfig, eval_values(every=1e6), "eval").every == 1_000_000


@pytest.mark.parametrize("name", ALGOS)
def test_floats_refuse_infinity(name):
    values = compose(f"algo={name}", "hparams=none")["algo"] | {"learning_rate": float("inf")}
    with pytest.raises(BadInput, match=r"algo\.learning_rate"):
        build(algos.load(values["name"]).Config, values, "algo")


def test_configurations_are_frozen():
    cfg = build(EvalConfig, eval_values())
    with pytest.raises(AttributeError):
        cfg.every = 2  # type: ignore[misc]


def test_settings_that_contradict_each_other_are_refused():
    values = compose("algo=dqn", "hparams=none")["algo"]
    values |= {"epsilon_decay": "exponential", "epsilon_end": 0.0}
    with pytest.raises(BadInput, match="exponential epsilon_decay needs both ends above 0"):
        build(algos.load("dqn").Config, values, "algo")


@pytest.mark.parametrize(
    "schema", [RunConfig, ReplayConfig, *(algos.load(a).Config for a in algos.names())]
)
def test_every_key_says_what_it_means(schema):
    for name, key in keys(schema).items():
        assert key.doc, name
        assert key.type, name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), value=JSON)
def test_any_value_for_any_key_is_taken_or_refused_cleanly(data, value):
    """Never another exception, never a silent conversion: what was taken is what was given."""
    name = data.draw(st.sampled_from(sorted(keys(RunConfig))))
    values = fuzz_base()
    *path, leaf = name.split(".")
    node = values
    for part in path:
        node = node[part]
    node[leaf] = value
    try:
        cfg = build(RunConfig, values)
    except BadInput as error:
        assert name.split(".")[0] in str(error)  # noqa: PT017  (either outcome is right)
        assert len(str(error).splitlines()) <= 12  # noqa: PT017
        return
    for part in name.split("."):
        cfg = getattr(cfg, part)
    assert json.loads(json.dumps(cfg)) == json.loads(json.dumps(value))


def fuzz_base():
    if not hasattr(fuzz_base, "text"):
        fuzz_base.text = json.dumps(compose("hparams=none"))
    return json.loads(fuzz_base.text)


def test_nearest_finds_the_word_meant():
    assert nearest("learning_rat", ["gamma", "learning_rate"]) == "learning_rate"
    assert nearest("xyz", ["gamma", "learning_rate"]) is None


# From the command line's words to Hydra's


def test_env_id_alone_chooses_no_group_and_no_tuned_values(here):
    out = compose_module.prepare(["env.id=Foo-v0"])
    assert "env=custom" in out


def test_another_envs_tuned_values_are_not_applied(here):
    assert "hparams=none" in compose_module.prepare(["env=cartpole", "env.id=CartPole-v0"])
    assert "hparams=none" not in compose_module.prepare(["env=cartpole", "env.id=CartPole-v1"])
    assert "hparams=none" not in compose_module.prepare(
        ["env=cartpole", "env.id=X-v0", "hparams=dqn_cartpole"]
    )


def test_flags_come_before_overrides_whatever_their_order():
    argv = ["algo=dqn", "--cfg", "job", "seed=1", "-m"]
    assert arguments.split_flags(argv) == (["--cfg", "job", "-m"], ["algo=dqn", "seed=1"])


def test_own_conf_folder_joins_the_search_path(here):
    (here / "conf/env").mkdir(parents=True)
    (here / "conf/env/mine.yaml").write_text("defaults: [_base, _self_]\nid: Mine-v0\n")
    out = compose_module.prepare(["env=mine"])
    assert any(a.startswith("hydra.searchpath=") and str(here) in a for a in out)
    with pytest.raises(BadInput, match="no env called mime"):
        compose_module.prepare(["env=mime"])


def test_a_strangers_conf_folder_is_left_alone(here):
    (here / "conf/database").mkdir(parents=True)
    assert not any(a.startswith("hydra.searchpath") for a in compose_module.prepare(["algo=dqn"]))
