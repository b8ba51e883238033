"""Files that are not shipped are data: they set no key of Hydra, call no resolver and name no class."""

from __future__ import annotations

import os

import pytest

from rl_cli.cli import compose, train
from rl_cli.core.errors import BadInput

GLOBAL = "# @package _global_\n"
CALLBACK = "{callbacks: {x: {_target_: torch.load, f: x.pt, weights_only: false}}}"

REFUSED = {  # file below conf/ -> content, in what the message names
    "hydra-keys": [
        ("hparams/ppo_corridor", f"{GLOBAL}hydra: {CALLBACK}", "hydra.callbacks.x._target_"),
        ("experiment/mine", f"{GLOBAL}hydra: {{job: {{env_set: {{A: b}}}}}}", "hydra.job.env_set.A"),
        ("experiment/mine", f"{GLOBAL}hydra: {{job: {{env_copy: [A]}}}}", "hydra.job.env_copy.0"),
        ("experiment/mine", f"{GLOBAL}hydra: {{launcher: {{_target_: a.B}}}}", "hydra.launcher"),
        ("experiment/mine", f"{GLOBAL}hydra: {{sweeper: {{_target_: a.B}}}}", "hydra.sweeper._target_"),
        ("experiment/mine", f"{GLOBAL}hydra: {{searchpath: ['pkg://a']}}", "hydra.searchpath.0"),
        ("experiment/mine", f"{GLOBAL}hydra: {{run: {{dir: /tmp}}}}", "hydra.run.dir"),
        ("experiment/mine", f"{GLOBAL}hydra: {{callbacks: {{}}}}", "hydra.callbacks"),
        ("hparams/ppo_corridor", f"{GLOBAL}hydra: {{mode: MULTIRUN}}", "hydra.mode"),
    ],
    "sweeps-that-set-more": [
        ("sweep/mine", f"{GLOBAL}hydra: {{sweeper: {{params: {{{key}: b}}}}}}", key.strip("'"))
        for key in ("hydra.job.env_set.A", "+hydra.job.env_set.A", "hydra/launcher", "'a@hydra.job'")
    ],
    "packages": [
        ("hparams/ppo_corridor", f"# @package {package}\nenv_set: {{A: b}}", package)
        for package in ("hydra.job", "_global_.hydra.job", "_global_[hydra][job]", "[hydra].job")
    ]
    + [
        ("hydra/job/mine", "env_set: {A: b}", "hydra/"),
        ("env/hydra", "# @package _name_\njob: {env_set: {A: b}}", "_name_"),
    ],
    "defaults": [
        ("experiment/mine", f"{GLOBAL}defaults: [{entry}]", named)
        for entry, named in (
            ("override /hydra/launcher: joblib", "/hydra/launcher"),
            ("override hydra/launcher: joblib", "hydra/launcher"),
            ("/hydra/callbacks: mine", "/hydra/callbacks"),
            ("/algo@hydra.job: dqn", "/algo@hydra.job"),
            ("/algo@_global_.hydra.job: dqn", "hydra.job"),
            ("/algo@_name_: hydra", "_name_"),
            ("'/algo/dqn@hydra.job'", "hydra.job"),
            ("/algo: ../../elsewhere", "/algo"),
            ("'/../elsewhere'", "/../elsewhere"),
            ("override /algo: '${oc.env:SECRET}'", "oc.env:SECRET"),
        )
    ]
    + [
        ("hparams/ppo_corridor", f"{GLOBAL}defaults: [{entry}]", named)
        for entry, named in (
            ("override /env: evil", "/env"),
            ("override /experiment: mine", "/experiment"),
            ("/env/evil@_global_.env", "/env/evil"),
            ("other@_global_.env", "other"),
        )
    ],
    "resolvers": [
        ("env/corridor", f"defaults: [_base, _self_]\nid: X-v0\nkwargs: {{a: '{text}'}}", text)
        for text in (
            *("${oc.env:SECRET}", "x${oc.env:SECRET}y", "${oc.decode:1}", "${hydra:job.name}"),
            *("${${b}:SECRET}", "${seed:${oc.env:SECRET}}", "${hydra.runtime.cwd}"),
            *("\\\\${oc.env:SECRET}", "${ oc.env : SECRET }"),
        )
    ]
    + [("env/corridor", "id: X-v0\nkwargs: {a: [[{b: '${oc.env:S}'}]]}", "env.kwargs.a.0.0.b")],
    "classes": [
        ("env/corridor", "defaults: [_base, _self_]\nid: X-v0\nkwargs: {_target_: os.system}", "_target_"),
        ("algo/mine", "defaults: [dqn, _self_]\nloss: {_target_: os.system}", "algo.loss._target_"),
        ("hparams/ppo_corridor", f"{GLOBAL}env: {{id: 'evil:X-v0'}}", "env.id"),
        ("hparams/ppo_corridor", "# @package env\nid: evil:X-v0", "env.id"),
        ("algo/mine", f"{GLOBAL}env: {{id: 'evil:X-v0'}}", "env.id"),
        ("hparams/ppo_corridor", f"{GLOBAL}run_dir: /somewhere", "run_dir"),
        ("env/corridor", f"{GLOBAL}resume: somewhere", "resume"),
    ],
    "sizes": [
        ("env/corridor", "a0: &a0 [1, 1]\n" + "".join(
            f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
        ), "corridor.yaml"),
        ("experiment/mine", "a: &a [*a]", "mine.yaml"),
        ("experiment/mine", "a: " + "[" * 1_200, "mine.yaml"),
        ("experiment/mine", "# " + "x" * 70_000, "mine.yaml"),
    ],
}  # fmt: skip
WORDS = {
    "hparams/ppo_corridor": ["algo=ppo", "env=corridor"],
    "experiment/mine": ["experiment=mine"],
    "sweep/mine": ["sweep=mine"],
    "env/hydra": ["env=hydra"],
    "env/corridor": ["env=corridor"],
    "algo/mine": ["algo=mine"],
    "hydra/job/mine": ["algo=ppo", "env=corridor", "+hydra/job=mine"],
}
CORRIDOR = "defaults: [_base, _self_]\nid: CartPole-v1\n"


def conf(folder, **files):
    """Write files below `folder`; a default env/corridor.yaml that is harmless."""
    for name, text in {"env/corridor": CORRIDOR, **files}.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def composed(*argv):
    found = []
    compose.run_hydra("config", compose.prepare(list(argv)), lambda cfg: found.append(cfg))
    return found


@pytest.mark.parametrize("kind", REFUSED)
def test_file_in_conf_sets_only_values_of_a_run(here, monkeypatch, kind):
    """Named by file and key, before anything is composed; an algorithm of the user's may be loaded."""
    monkeypatch.setenv("SECRET", "s3cr3t")
    before = dict(os.environ)
    for i, (file, content, named) in enumerate(REFUSED[kind]):
        place = here / str(i)
        place.mkdir()
        monkeypatch.chdir(place)
        conf(place / "conf", **{file: content})
        with pytest.raises(BadInput) as refused:
            composed(*WORDS[file])
        error = refused.value
        assert error.where.startswith(f"conf/{file}.yaml"), (content, str(error))
        assert named in error.where, (content, str(error))
        assert error.fix
        assert "s3cr3t" not in str(error)
    assert {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"} == {
        k: v for k, v in before.items() if k != "HYDRA_FULL_ERROR"
    }


@pytest.mark.parametrize("how", ["--config-dir", "hydra.searchpath", "--config-name"])
def test_folder_named_on_the_line_is_data_too(here, how):
    conf(here / "more", **{"experiment/mine": f"{GLOBAL}hydra: {CALLBACK}"})
    conf(here / "more", mine=f"defaults: [{{algo: dqn}}, {{env: cartpole}}]\nhydra: {CALLBACK}")
    words = {
        "--config-dir": ["--config-dir", "more", "experiment=mine"],
        "hydra.searchpath": [f"hydra.searchpath=['file://{here}/more']", "+experiment=mine"],
        "--config-name": ["--config-dir", "more", "--config-name", "mine"],
    }[how]
    with pytest.raises(BadInput, match="may not set keys of Hydra") as refused:
        compose.run_hydra("config", words, lambda cfg: None)
    assert refused.value.where.startswith("more/")


def test_values_interpolations_sweeps_and_groups_are_accepted(here):
    conf(
        here / "conf",
        **{
            "hparams/_shared": f"{GLOBAL}algo: {{gamma: 0.5}}",
            "hparams/ppo_corridor": f"{GLOBAL}defaults: [_shared, /hparams/_shared, _self_]\nseed: 4",
            "experiment/mine": f"{GLOBAL}defaults: [override /algo: ppo, override /env: corridor]\n"
            "total_timesteps: ${eval.every}\nenv: {id: 'module:X-v0', kwargs: {a: '\\${oc.env:A}'}}\n"
            "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2', algo.gamma: '0.1'}}}",
        },
    )
    (single,) = composed("algo=ppo", "env=corridor")
    assert (single.seed, single.algo.gamma, single.env.id) == (4, 0.5, "CartPole-v1")
    many = composed("experiment=mine")
    assert [(c.seed, c.algo.gamma, c.total_timesteps) for c in many] == [
        (1, 0.1, 10_000),
        (2, 0.1, 10_000),
    ]
    assert (many[0].env.id, many[0].env.kwargs.a) == ("module:X-v0", "${oc.env:A}")


def test_line_itself_may_set_what_a_file_may_not(here, monkeypatch):
    monkeypatch.setenv("OF_THE_USER", "mine")
    words = ["seed=${oc.decode:'7'}", "run_dir=${oc.env:OF_THE_USER}", "+hydra.job.env_set.X_=yes"]
    (cfg,) = composed("algo=ppo", *words)
    assert (cfg.seed, cfg.run_dir) == (7, "mine")


def test_every_shipped_file_is_exempt_by_its_folder_alone(here, monkeypatch):
    """The shipped sweep sets `hydra.*`; the same file elsewhere is checked."""
    assert len(composed("sweep=seeds")) == 5
    monkeypatch.setattr("rl_cli.cli.user_conf.CONF", here)
    with pytest.raises(BadInput, match=r"not accepted"):
        composed("sweep=seeds")


def test_pipe_in_conf_does_not_block_and_exit_code_is_2(here, capsys):
    conf(here / "conf", **{"experiment/other": "seed: 1"})
    os.mkfifo(here / "conf/experiment/mine.yaml")
    assert train.run(["experiment=mine"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
