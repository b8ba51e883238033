"""The code blocks and commands of the documentation, for the tests that run them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib

import numpy as np
import pytest
import safetensors.numpy

from tests.conftest import MODULES, REPO

PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NAMED_FILE = re.compile(r"(?:# @package _global_\n)?# ([\w./]+\.(?:py|yaml|toml))\n")
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
TINY = {
    "total_timesteps": "300",
    "eval.every": "150",
    "eval.episodes": "1",
    "log.every": "100",
    "checkpoint.every": "100",
    "video.episodes": "0",
    "log.tensorboard": "false",
    "quiet": "true",
    "compile": "false",
}
NEEDS_EXTRA = {
    r"env=(halfcheetah|hopper|walker2d|ant|swimmer|humanoid)\b": "mujoco",
    r"env=minatar_|env\.id=MinAtar/": "minatar",
    r"env=(pong|breakout|space_invaders|atari)|env\.id=(ALE/|\w+NoFrameskip)": "atari",
}


CPU_ONLY = ("--index-url", "https://download.pytorch.org/whl/cpu")
"""Options of pip for a build of torch without CUDA; the Makefile has the same index."""


def blocks(*languages):
    """(page, text) of each fenced block in one of the languages."""
    for page in PAGES:
        for language, text in BLOCK.findall(page.read_text()):
            if language in languages:
                yield page, text


def commands(*programs):
    """Words of each command of the programs, without comments; a repeated command comes once."""
    seen = set()
    for page, text in blocks("sh"):
        for line in text.splitlines():
            words = tuple(shlex.split(line, comments=True))
            if words and words[0] in programs and words not in seen:
                seen.add(words)
                yield pytest.param(list(words), id=f"{page.name}: {' '.join(words)}")


def is_typed(key, words):
    return any(word.lstrip("+").startswith(f"{key}=") for word in words)


def shortened(words):
    """A command with a tiny budget; lists of a sweep are cut to two values."""
    words = [re.sub(r"^([\w./]+=[^,\[{]+,[^,\[{]+),[^\[{]*$", r"\1", word) for word in words]
    if "sweep=seeds" in words:
        words.append("seed=0,1")
    always = ("total_timesteps", "quiet", "video.episodes", "compile")
    return words + [f"{k}={v}" for k, v in TINY.items() if k in always or not is_typed(k, words)]


def write_files(folder):
    """Write each block that starts with a comment naming its file."""
    for _, text in blocks("python", "yaml", "toml"):
        if match := NAMED_FILE.match(text):
            path = folder / match[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def write_data(folder):
    """Write what the pages name without showing it: a module, and transitions of a person who played."""
    (folder / "my_module.py").write_text(
        "import gymnasium as gym\n"
        "gym.register('MyEnv-v0', 'gymnasium.envs.classic_control:CartPoleEnv', max_episode_steps=9)\n"
    )
    rng = np.random.default_rng(0)
    rows = {
        "obs": rng.normal(size=(20, 8)).astype(np.float32),
        "action": rng.integers(4, size=20),
        "reward": np.zeros(20, np.float32),
        "next_obs": rng.normal(size=(20, 8)).astype(np.float32),
        "terminated": np.zeros(20, bool),
        "truncated": np.arange(20) == 19,
    }
    (folder / "mine").mkdir()
    (folder / "mine/transitions.safetensors").write_bytes(safetensors.numpy.save(rows))


def missing_extra(words):
    """The extra that a command needs and this machine lacks, or None."""
    for pattern, extra in NEEDS_EXTRA.items():
        if re.search(pattern, " ".join(words)) and not importlib.util.find_spec(MODULES[extra]):
            return extra
    return None


def install_plugins(folder):
    """Install the packages that CONTRIBUTING shows, as their pyproject.toml says."""
    info = folder / "plugins-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1\n")
    lines = []
    for _, text in blocks("toml"):
        for group, names in tomllib.loads(text)["project"]["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {target}" for name, target in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
