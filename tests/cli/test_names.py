"""Names and forms that people bring from other programs: groups, options, counts, short names of runs."""

from __future__ import annotations

import datetime
import os
import shlex

import pytest

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import group_names, numbers
from rl_cli.cli import play as rl_play
from rl_cli.cli import report as rl_report
from rl_cli.cli import runs as rl_runs
from rl_cli.cli import train as rl_train
from rl_cli.cli.config_groups import ANY_ID, CONF, env_id_of, env_label
from rl_cli.cli.hydra_errors import training_keys
from rl_cli.config.schema import Key
from rl_cli.core.errors import BadInput
from rl_cli.storage.run_names import find_run
from tests.config.test_config import ALGOS, ENVS

STOP = "threads=0"
"""A value that is refused after the names were read."""


# Groups


@pytest.mark.parametrize("env", [e for e in ENVS if env_id_of(e, [CONF]) not in (None, ANY_ID)])
def test_gymnasium_id_selects_its_group(env, capsys):
    env_id = env_id_of(env, [CONF])
    for typed in (env_id, env_id.lower(), f"{env_id.rsplit('-', 1)[0]}-v0", env.replace("_", "")):
        (word,) = group_names.resolve([f"env={typed}"], [CONF])
        found = word.removeprefix("env=")
        assert env_id_of(found, [CONF]) == env_id
        assert (word != f"env={typed}") == (typed != env)
    assert group_names.resolve([f"env={env}", f"algo={ALGOS[0]}"], [CONF])[0] == f"env={env}"
    assert capsys.readouterr().err.count("note: ") >= 3


def test_env_group_that_extends_another_has_its_id_and_its_own_label(tmp_path):
    (tmp_path / "env").mkdir()
    for name, extended in [("child", "lunarlander_windy"), ("a", "b"), ("b", "a"), ("c", "_base")]:
        (tmp_path / f"env/{name}.yaml").write_text(f"defaults: [{extended}, _self_]\n")
    found = [env_id_of(name, [tmp_path, CONF]) for name in ("child", "a", "c")]
    assert found == ["LunarLander-v3", None, None]
    assert [env for env in ENVS if env_id_of(env, [CONF]) is None] == ["custom"]
    for env in ENVS:
        assert env_label(env, {"env": {"id": env_id_of(env, [CONF])}}) == env or env == "custom"


@pytest.mark.parametrize(
    ("words", "expected", "note"),
    [
        ("env=CartPole-v1 algo=PPO", "env=cartpole algo=ppo", "env=cartpole (tuned: ppo_cartpole)"),
        ("env=LunarLander-v2", "env=lunarlander", "which is LunarLander-v3"),
        (
            "env=LunarLanderContinuous-v3 algo=ppo",
            "env=lunarlander_continuous algo=ppo",
            "ppo_lunarlander_continuous)",
        ),
        ("env=ALE/Pong-v5", "env=pong", "dqn_pong"),
        ("env=PongNoFrameskip-v4", "env=pong_noframeskip", "dqn_pong_noframeskip"),
        ("env=ALE/Qbert-v5", "env.id=ALE/Qbert-v5", "env=atari env.id=ALE/Qbert-v5"),
        ("-m env=CartPole-v1,acrobot", "-m env=cartpole,acrobot", "env=cartpole"),
        ("env=Pendulum-v1", "env=pendulum", "plain defaults of dqn"),
        ("algo=DQN,Rainbow", "algo=dqn,rainbow", "algo=rainbow"),
        ("env=cartpole algo=ppo", "env=cartpole algo=ppo", ""),
        ("env=FrozenLake-v1", "env=FrozenLake-v1", ""),
    ],
)
def test_names_of_groups_are_resolved_with_a_note(words, expected, note, capsys):
    assert group_names.resolve(words.split(), [CONF]) == expected.split()
    err = capsys.readouterr().err
    assert note in err
    assert bool(note) == bool(err)


def test_env_id_with_a_group_names_the_values_that_are_not_used(capsys):
    def notes(*words):
        group_names.note_left_behind(list(words), [CONF])
        return capsys.readouterr().err

    expected = "env.id=CartPole-v1 uses no tuned values; env=cartpole does (tuned: ppo_cartpole)"
    assert expected in notes("env.id=CartPole-v1", "algo=ppo")
    assert "values for algo=ppo; env=ant does" in notes("env.id=Ant-v5", "algo=ppo")
    for words in (
        ["env.id=CartPole-v1", "env=cartpole"],
        ["env.id=CartPole-v1", "hparams=none"],
        ["env.id=FrozenLake-v1"],
        ["env.id=ALE/Pong-v5", "algo=ppo"],  # env=atari has the same values
        ["env=cartpole"],
    ):
        assert notes(*words) == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("algo=a2c", "one of: dqn, ppo, rainbow, reinforce"),
        ("algo=sac", "one of: dqn, ppo, rainbow, reinforce"),
        ("algo=TD3", "one of: dqn, ppo, rainbow, reinforce"),
        ("algo=double_dqn", "write algo=dqn algo.bootstrap=double"),
        ("algo=QR-DQN", "algo=dqn algo.distributional=qr"),
        ("env=FrozenLake-v1", "env.id=FrozenLake-v1"),
        (
            "env=BipedalWalkerHardcore-v3",
            "or env.id=BipedalWalkerHardcore-v3 if that is another env",
        ),
        ("env=my_module:Foo-v0", "env.id=my_module:Foo-v0"),
    ],
)
def test_unknown_group_names_are_answered_with_what_to_write(invoke, words, expected):
    code, _, err = invoke(rl_train.run, *words.split())
    assert code == 2
    assert expected in err
    assert len(err.splitlines()) == 3


# Options

FORMS = [
    ("--algo dqn --env cartpole --seed 3", "rl-train algo=dqn env=cartpole seed=3"),
    ("--algo=dqn -m seed=1,2", "rl-train algo=dqn -m seed=1,2"),
    ("algo dqn", "rl-train algo=dqn"),
    ("algo = dqn seed=1", "rl-train algo=dqn seed=1"),
    ("algo= dqn", "rl-train algo=dqn"),
    ("algo =dqn", "rl-train algo=dqn"),
    ("algo:dqn", "rl-train algo=dqn"),
    ("-m algo=dqn, ppo", "rl-train -m algo=dqn,ppo"),
    ("dqn cartpole", "rl-train algo=dqn env=cartpole"),
    ("PPO CartPole-v1", "rl-train algo=PPO env=CartPole-v1"),
    ("--algo=", "rl-train algo=<value>"),
    ("-seed 3 --quiet", "rl-train seed=3 quiet=true"),
    (
        "--env-id CartPole-v1 --total-timesteps 1_000",
        "rl-train env=CartPole-v1 total_timesteps=1_000",
    ),
    ("--gym-id Foo-v0", "rl-train env.id=Foo-v0"),
    (
        "--learning-rate 1e-3 --config-dir conf",
        "rl-train algo.learning_rate=1e-3 --config-dir conf",
    ),
    ("--run-dir 'a b'", "rl-train 'run_dir=a b'"),
    ("--list", "rl-train --help"),
    ("list", "rl-train --help"),
    ("help", "rl-train --help"),
    ("--dry-run", "rl-train --cfg job"),
    ("--episodes 10", "total_episodes=10 for the budget, eval.episodes=10 for each evaluation"),
    ("--cuda", "did you mean device?"),
    ("--track --seed 3", "did you mean log.wandb?"),
    ("--num-minibatches 4", "did you mean algo.minibatch_size?"),
    ("--exploration-fraction 0.1", "did you mean algo.epsilon_steps?"),
    ("--nonsense", "see --help"),
    ("total-timesteps=100", "did you mean total_timesteps?"),
    ("algo.n-steps=100", "did you mean algo.n_step?"),
]


@pytest.mark.parametrize(("words", "expected"), FORMS)
def test_forms_of_other_programs_are_answered_in_three_lines(invoke, here, words, expected):
    algo = ["algo=ppo"] if "minibatch" in words else []
    code, out, err = invoke(rl_train.run, *shlex.split(words), *algo)
    assert (code, out, len(err.splitlines())) == (2, "", 3), err
    assert expected in err.splitlines()[-1]
    assert not list(here.iterdir())


def test_every_key_as_an_option_is_answered_with_the_key(invoke):
    known = training_keys(["algo=ppo"])
    words = [w for key in known for w in (f"--{key.replace('_', '-')}", "1")]
    code, _, err = invoke(rl_train.run, "algo=ppo", *words[:40])
    assert code == 2
    line = " ".join(f"{key}=1" for key in list(known)[:20])
    assert f"do: rl-train algo=ppo {line}" in err


def test_other_commands_answer_with_their_own_keys(invoke, here):
    for main, words, expected in (
        (rl_eval.run, ["--episodes", "10", "folder"], "rl-eval episodes=10 folder"),
        (rl_eval.run, ["--n-eval-episodes=5", "folder"], "rl-eval episodes=5 folder"),
        (rl_eval.run, ["folder", "episodes", "10"], "rl-eval folder episodes=10"),
        (rl_play.run, ["--env", "cartpole"], "rl-play env=cartpole"),
        (rl_play.run, ["cartpole"], "rl-play env=cartpole"),
        (rl_report.run, ["--threshold", "5", "runs"], "rl-report threshold=5 runs"),
        (rl_runs.run, ["last", "3"], "rl-runs last=3"),
    ):
        code, _, err = invoke(main, *words)
        assert code == 2
        assert f"do: {expected}\n" in err


# Counts

KNOWN = {
    "n": Key("int", "", ""),
    "m": Key("int | null", "", ""),
    "sizes": Key("[int, ...]", "", ""),
    "x": Key("float", "", ""),
    "name": Key("str", "", ""),
}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("n=10k", "n=10000"),
        ("n=1M", "n=1000000"),
        ("+n=2.5m", "+n=2500000"),
        ("n=10k,20K", "n=10000,20000"),
        ("m=1.5k", "m=1500"),
        ("m=choice(1k,2k)", "m=choice(1000,2000)"),
        ("sizes=[1k,64]", "sizes=[1000,64]"),
        ("n=1_000k", "n=1000000"),
        ("n=0.0001k", "n=0.0001k"),
        ("n=-1k", "n=-1k"),
        ("n=10kB", "n=10kB"),
        ("n=k", "n=k"),
        ("n=1e6", "n=1e6"),
        ("x=10k", "x=10k"),
        ("name=10k", "name=10k"),
        ("other=10k", "other=10k"),
        ("--n", "--n"),
    ],
)
def test_counts_of_integer_keys_are_read(word, expected):
    assert numbers.expanded([word], lambda: KNOWN) == [expected]


def test_counts_are_read_by_every_command(invoke):
    for main, words, expected in (
        (rl_train.run, ["seed=1k", "total_timesteps=10k,20k"], "total_timesteps=10000,20000"),
        (rl_train.run, ["-m", "total_timesteps=1e6,1_000,2.5M", STOP], "threads=0"),
        (rl_eval.run, ["nowhere", "episodes=2k"], "nowhere"),
    ):
        code, _, err = invoke(main, *words)
        assert code == 2
        assert expected in err


# Short names of runs


@pytest.fixture
def runs(here):
    for name in (
        "dqn/cartpole/20261126-141158_s0_dee8",
        "dqn/cartpole/20261127-101158_s0_aaaa",
        "ppo/acrobot/20261127-111158_s1_bbbb",
    ):
        folder = here / "runs" / name
        (folder / "checkpoints/000000300").mkdir(parents=True)
        (folder / "config.yaml").write_text("")
    (here / "runs/evals/x/20271127-111158_s1_cccc").mkdir(parents=True)
    return here


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("latest", "runs/ppo/acrobot/20261127-111158_s1_bbbb"),
        ("dqn/latest", "runs/dqn/cartpole/20261127-101158_s0_aaaa"),
        ("runs/dqn/cartpole/latest", "runs/dqn/cartpole/20261127-101158_s0_aaaa"),
        ("20261126", "runs/dqn/cartpole/20261126-141158_s0_dee8"),
        ("20261127-11", "runs/ppo/acrobot/20261127-111158_s1_bbbb"),
        ("dqn/cartpole/20261126-1", "runs/dqn/cartpole/20261126-141158_s0_dee8"),
        ("runs/ppo/acro", "runs/ppo/acrobot/20261127-111158_s1_bbbb"),
        ("ppo", "runs/ppo/acrobot/20261127-111158_s1_bbbb"),
        ("latest/checkpoints/000000300", "runs/ppo/acrobot/20261127-111158_s1_bbbb/checkpoints/000000300"),
        ("nowhere", "nowhere"),
        ("", ""),
    ],
)  # fmt: skip
def test_short_name_finds_its_run(runs, typed, expected):
    assert find_run(typed, "run") == expected


def test_path_that_exists_is_no_short_name(runs):
    (runs / "latest").mkdir()
    assert find_run("latest", "run=latest") == "latest"


def test_several_runs_of_a_short_name_are_listed(runs):
    with pytest.raises(BadInput, match="2 runs begin with 20261127") as caught:
        find_run("20261127", "run=20261127")
    assert caught.value.where == "run=20261127"
    names = ["ppo/acrobot/20261127-111158_s1_bbbb", "dqn/cartpole/20261127-101158_s0_aaaa"]
    assert caught.value.fix == f"one of: {', '.join(names)}"
    with pytest.raises(BadInput, match="no run in runs/reinforce"):
        find_run("reinforce/latest", "run=reinforce/latest")


def test_every_place_that_names_a_run_takes_short_names(runs, invoke):
    for main, words in (
        (rl_eval.run, ["20261127"]),
        (rl_eval.run, ["run=20261127"]),
        (rl_train.run, ["resume=20261127"]),
        (rl_report.run, ["20261127"]),
        (rl_runs.run, ["20261127"]),
    ):
        code, _, err = invoke(main, *words)
        assert code == 2
        assert "2 runs begin with 20261127" in err


def test_latest_is_the_run_that_started_last_whatever_its_name(here):
    folder = here / "runs/ppo/cartpole"
    for name, at in (
        ("mine", "2031-02-03 04:05:06"),
        ("20310203-040507_s0_aaaa", "2031-03-01 00:00:00"),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.yaml").write_text("")
        os.utime(
            folder / name / "config.yaml", (datetime.datetime.fromisoformat(at).timestamp(),) * 2
        )
    assert find_run("latest", "run").endswith(
        "20310203-040507_s0_aaaa"
    )  # which was resumed in March
    os.utime(
        folder / "mine" / "config.yaml", (datetime.datetime(2031, 2, 3, 4, 5, 8).timestamp(),) * 2
    )
    assert find_run("latest", "run").endswith("mine")
