"""`--help`: the choices, and for every key its meaning, type, range and default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rl_cli import algos
from rl_cli.cli.arguments import value_of
from rl_cli.cli.config_groups import (
    ANY_ID,
    CONF,
    GROUPS,
    algorithm_of,
    env_id_of,
    is_readable,
    members,
    user_folders,
)
from rl_cli.config.commands import PlayConfig, ReplayConfig
from rl_cli.config.run import RunSettings
from rl_cli.config.schema import keys

TRAIN = """\
rl-train: train an agent, or a sweep of them.

  rl-train algo=dqn env=mountaincar                    one run
  rl-train algo=ppo env.id=FrozenLake-v1               any registered env; module:Id-v0 too
  rl-train -m algo=dqn,ppo env=cartpole seed=0,1       a sweep: every combination
  rl-train resume=runs/dqn/mountaincar/<run>           resume an interrupted run

Tuned values for an algorithm and an env are loaded by name (hparams/<algo>_<env>); hparams=none
turns them off. The command line overrides every file. A conf/ folder in the current folder adds
your own env, hparams and experiment files; --config-dir adds another folder. --cfg job shows the
composed configuration. Intervals count env steps over all envs, or training episodes if the key's
name ends in _episodes.
"""

EVAL = """\
rl-eval: evaluate a checkpoint.

  rl-eval runs/dqn/mountaincar/<run>                   100 episodes of the best checkpoint
  rl-eval <run> checkpoint=latest video=true           the latest checkpoint, with a video
  rl-eval <run>/checkpoints/000120000 greedy=false     one checkpoint, with sampled actions
  rl-eval <run> env.kwargs.enable_wind=true            in a modified env
"""

PLAY = """\
rl-play: play an env with the keyboard.

  rl-play env=mountaincar                              arrow keys or a, s, d, w; escape quits
  rl-play env=carracing env.max_episode_steps=500
  rl-play env.id=FrozenLake-v1                         any other env; its keys are printed at the start
  rl-play env=mountaincar record=true                  write each episode as mp4, and the transitions
  rl-train algo=dqn env=mountaincar algo.prefill=<transitions.safetensors>
"""

HEADER = f"{'key':<28}{'type':<24}{'range':<18}{'default':<16}meaning"


def train_help(argv: list[str]) -> str:
    """The text of `rl-train --help`; with algo=<name> only that algorithm's keys."""
    folders = [CONF, *user_folders(argv)]
    chosen = algorithm_of(value_of(argv, "algo") or "", folders)
    names = [chosen] if chosen in algos.names() else algos.names()
    parts = [TRAIN, *_choices(folders)]
    presets = members("experiment", folders)
    lines = [f"  {name:<37}{_first_comment('experiment', name, folders)}" for name in presets]
    parts += ["presets: experiment=<name>", *lines]
    others = [group for group in GROUPS[2:] if group != "experiment"]
    parts += [f"{group}\n  {', '.join(members(group, folders))}" for group in others]
    parts += ["", HEADER]
    parts += _rows(RunSettings, "", _defaults("config.yaml") | {"env": _defaults("env/_base.yaml")})
    for name in names:
        parts.append(f"\nalgo={name}")
        parts += _rows(algos.config_class(name), "algo", {"algo": _defaults(f"algo/{name}.yaml")})
    return "\n".join(parts)


def eval_help() -> str:
    """The text of `rl-eval --help`."""
    rows = _rows(ReplayConfig, "", _defaults("eval.yaml"))
    return "\n".join([EVAL, *_choices([CONF]), "", HEADER, *rows])


def play_help(argv: list[str]) -> str:
    """The text of `rl-play --help`."""
    folders = [CONF, *user_folders(argv)]
    defaults = _defaults("play.yaml") | {"env": _defaults("env/_base.yaml")}
    rows = _rows(PlayConfig, "", defaults)
    return "\n".join([PLAY, *_choices(folders)[len(algos.names()) + 1 :], "", HEADER, *rows])


def _choices(folders: list[Path]) -> list[str]:
    """The algorithms and envs, one line each; the defaults are marked."""
    chosen = [value for item in _defaults("config.yaml")["defaults"] for value in _values(item)]
    texts = {name: algos.summary(name) for name in algos.names()}
    presets = [name for name in members("algo", folders) if name not in texts]
    texts |= {name: _first_comment("algo", name, folders) for name in presets}
    env_texts = {name: _env_text(name, folders) for name in members("env", folders)}

    def line(name: str, text: str) -> str:
        return f"  {name:<28}{text}{' (default)' if name in chosen else ''}"

    algo_lines = [line(*item) for item in texts.items()]
    return ["algorithms", *algo_lines, "envs", *(line(*item) for item in env_texts.items())]


def _values(item: Any) -> list[Any]:
    """Values of an entry of a defaults list; none if the entry is a plain name."""
    return list(item.values()) if isinstance(item, dict) else []


def _rows(schema: type, prefix: str, defaults: dict[str, Any]) -> list[str]:
    rows = []
    for name, key in keys(schema, prefix).items():
        if name == "algo":
            continue
        default = _text(_lookup(defaults, name))
        kind = key.type if len(key.type) < 24 else key.type[:22] + "…"
        rows.append(f"{name:<28}{kind:<24}{key.interval:<18}{default:<16}{key.doc}")
    return rows


def _lookup(values: dict[str, Any], path: str) -> Any:
    node: Any = values
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "by env" if value == "???" else str(value).replace("'", "")


def _defaults(name: str) -> dict[str, Any]:
    path = CONF / name
    return (yaml.safe_load(path.read_text()) if path.is_file() else None) or {}


def _first_comment(group: str, name: str, folders: list[Path]) -> str:
    """The comment in the first line of a group's file, which describes it."""
    path = next(p for f in folders if (p := f / group / f"{name}.yaml").is_file())
    lines = path.read_text(errors="replace").splitlines()
    first, *_ = [*(line for line in lines if not line.startswith("# @package")), ""]
    return first.removeprefix("# ").split(": rl-train")[0] if first.startswith("#") else ""


def _env_text(name: str, folders: list[Path]) -> str:
    if not is_readable("env", name, folders):
        return "(not readable as YAML)"
    found = env_id_of(name, folders)
    text = "any game: env.id=<id>" if found == ANY_ID else found or "any other: env.id=<id>"
    return f"{text} with continuous actions" if name == "lunarlander_continuous" else text
