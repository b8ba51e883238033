"""What the documents tell people to type is what the program takes."""

from __future__ import annotations

import re
import shlex

import pytest

from rl_cli.cli import arguments
from rl_cli.cli import compose as compose_module
from rl_cli.cli import play as rl_play
from rl_cli.config.commands import PlayConfig, ReplayConfig
from rl_cli.config.schema import build, keys
from tests.config.test_config import checked, compose
from tests.conftest import REPO

PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]


def commands(program):
    """Command lines of a program in fenced blocks, comments stripped."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == [program]:
                    yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words)}")


@pytest.mark.parametrize("args", commands("rl-train"))
def test_every_training_command_composes(here, args):
    if "--help" in args or any(a.startswith("resume=") and a != "resume=auto" for a in args):
        assert all(
            a.partition("=")[0] in ("--help", "resume", "total_timesteps", "algo") for a in args
        )
        return
    _, overrides = arguments.split_flags(compose_module.prepare(args))
    first_of_sweep = [re.sub(r"^([\w.]+=[^,\[{]*),.*", r"\1", a) for a in overrides]
    checked(compose(*(a for a in first_of_sweep if not a.startswith("hydra."))))


@pytest.mark.parametrize("args", commands("rl-eval"))
def test_every_replay_command_is_understood(args):
    assert args[0].startswith(("<run>", "runs/"))
    changes = dict(a.split("=", 1) for a in args[1:])
    assert all(k in keys(ReplayConfig) or k.startswith("env.") for k in changes)
    plain = [f"{k}={v}" for k, v in changes.items() if not k.startswith("env.")]
    build(ReplayConfig, compose(*plain, config_name="eval"))


@pytest.mark.parametrize("args", commands("rl-play"))
def test_every_playing_command_composes(here, args):
    build(PlayConfig, compose(*rl_play.prepared(args), config_name="play"))


def test_links_and_pictures_exist():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_lists_every_algorithm_and_env():
    text = (REPO / "README.md").read_text()
    for path in (REPO / "conf/algo").glob("*.yaml"):
        assert f"`algo={path.stem}`" in text
    for path in (REPO / "conf/env").glob("*.yaml"):
        if path.stem[0] != "_" and path.stem != "custom":
            assert f"| `{path.stem}` |" in text
    for path in (REPO / "conf/hparams").glob("*_*.yaml"):
        algo, env = path.stem.split("_", 1)
        row = re.search(rf"^\| `{env}` \|.*$", text, re.MULTILINE)
        assert row
        assert algo in row[0]
