"""`--help`: what can be chosen, and for every key its meaning, type, range and default."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import yaml

from rl_cli import algos
from rl_cli.cli.launch import CONF, GROUPS, members, user_folders, value_of
from rl_cli.config import ReplayConfig, RunConfig, keys

TRAIN = """\
rl-train: train an agent, or a sweep of them.

  rl-train algo=dqn env=mountaincar                    one run
  rl-train algo=ppo env.id=FrozenLake-v1               any registered env; module:Id-v0 too
  rl-train -m algo=dqn,ppo env=cartpole seed=0,1       a sweep: every combination
  rl-train resume=runs/dqn/mountaincar/<run>           go on with an interrupted run

Tuned values for an algorithm and an env are picked up by name (hparams/<algo>_<env>); what you
write on the command line wins; hparams=none turns them off. A conf/ folder where you start adds
your own env, hparams and experiment files. --cfg job shows the composed configuration,
--config-dir adds another folder. Every interval counts env steps over all envs.
"""
EVAL = """\
rl-eval: replay a checkpoint.

  rl-eval runs/dqn/mountaincar/<run>                   100 episodes of the best checkpoint
  rl-eval <run> checkpoint=latest video=true           the last one, with a video
  rl-eval <run>/checkpoints/000120000 greedy=false     one checkpoint, actions sampled
  rl-eval <run> env.kwargs.enable_wind=true            on a changed env
"""


def train_help(argv: list[str]) -> str:
    """The text of `rl-train --help`; with algo=<name> only that algorithm's keys."""
    folders = [CONF, *user_folders(argv)]
    asked = value_of(argv, "algo")
    names = [asked] if asked in algos.names() else algos.names()
    parts = [TRAIN, "algorithms"]
    parts += [f"  {name:<24}{_summary_of(name)}" for name in algos.names()]
    parts.append("envs")
    parts += [f"  {name:<24}{_env_id(name, folders)}" for name in members("env", folders)]
    for group in GROUPS[2:]:
        if found := [name for name in members(group, folders) if name != "none"]:
            parts.append(f"{group}\n  {', '.join(found)}")
    parts.append(f"\n{'key':<28}{'type':<24}{'range':<16}{'default':<14}meaning")
    parts += _rows(RunConfig, "", _defaults("config.yaml") | {"env": _defaults("env/_base.yaml")})
    for name in names:
        parts.append(f"\nalgo={name}")
        parts += _rows(algos.load(name).Config, "algo", {"algo": _defaults(f"algo/{name}.yaml")})
    return "\n".join(parts)


def eval_help() -> str:
    """The text of `rl-eval --help`."""
    header = f"{'key':<28}{'type':<24}{'range':<16}{'default':<14}meaning"
    return "\n".join([EVAL, header, *_rows(ReplayConfig, "", _defaults("eval.yaml"))])


def _rows(schema: type, prefix: str, defaults: dict[str, Any]) -> list[str]:
    rows = []
    for name, key in keys(schema, prefix).items():
        if name == "algo":
            continue
        default = _text(_lookup(defaults, name))
        kind = key.type if len(key.type) < 24 else key.type[:22] + "…"
        rows.append(f"{name:<28}{kind:<24}{key.interval:<16}{default:<14}{key.doc}")
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


def _summary_of(name: str) -> str:
    doc = inspect.getdoc(algos.load(name)) or ""
    return doc.splitlines()[0] if doc else ""


def _env_id(name: str, folders: list[Path]) -> str:
    for folder in folders:
        if (path := folder / "env" / f"{name}.yaml").is_file():
            values = yaml.safe_load(path.read_text()) or {}
            kwargs = values.get("kwargs") or {}
            extra = " (continuous)" if kwargs.get("continuous") and "continuous" in name else ""
            return f"{values.get('id', 'any other: env.id=<id>')}{extra}"
    return ""
