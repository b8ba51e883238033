"""Settings, fixtures and helpers that several test files use."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from tests.bars import results

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT
# not the user's own cache; kept between sessions, because entries are named by their content
CACHE = Path(tempfile.gettempdir()) / f"rl-cli-tests-{os.getuid()}"
os.environ["XDG_CACHE_HOME"] = os.environ.get("RL_CLI_TEST_CACHE", str(CACHE))

REPO = Path(__file__).resolve().parents[1]
FULL = os.environ.get("RL_CLI_BARS") == "full"
"""Whether to run the long form of the tests that have one (`make bars`)."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A new empty folder, which is the current folder during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Reports draw no pictures, which takes a second, unless a test enables them."""
    monkeypatch.setattr("rl_cli.report.pictures.available", lambda: False)


@pytest.fixture
def command(here):
    """A function that runs rl-train, rl-eval or rl-play as a process in an empty current folder."""

    def run(name: str, *args: str, env: dict[str, str] | None = None, timeout: float = 120):
        module = {
            "rl-train": "rl_cli.cli.train",
            "rl-eval": "rl_cli.cli.evaluate",
            "rl-play": "rl_cli.cli.play",
        }[name]
        code = f"import sys; from {module} import main; sys.argv[0] = {name!r}; main()"
        # -I ignores the current folder and PYTHONPATH, as an installed command does
        return subprocess.run(
            [sys.executable, "-I", "-c", code, *args],
            cwd=here,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def tiny():
    """Overrides for a run of about a second."""
    return [
        "total_timesteps=400",
        "eval.every=200",
        "eval.episodes=2",
        "checkpoint.every=100",
        "log.every=100",
        "video.episodes=0",
        "log.tensorboard=false",
        "quiet=true",
        "compile=false",
    ]


PIP_LINE = re.compile(r'pip install [^"]*"(?:rl-cli|\.)\[(\w+)\]"')
MODULES = {"mujoco": "mujoco", "atari": "ale_py", "minatar": "minatar"}


def of_this_machine(mistakes):
    """Drop the cases [(arguments, words of the message), ...] whose missing extra is installed here."""

    def is_installed(words):
        named = PIP_LINE.findall(" ".join(words))
        return any(importlib.util.find_spec(MODULES[extra]) for extra in named)

    return [case for case in mistakes if not is_installed(case[1])]


def pytest_terminal_summary(terminalreporter, exitstatus):
    """Print one line per bar, and write them to the file that RL_CLI_BARS_FILE names (`make bars`)."""
    path = os.environ.get("RL_CLI_BARS_FILE")
    if path is None:
        return
    reports = [r for reports in terminalreporter.stats.values() for r in reports]
    calls = [r for r in reports if getattr(r, "when", "") == "call"]
    lines = results.totals(getattr(report, "capstdout", "") for report in calls)
    lines += sorted(f"FAILED {r.nodeid}" for r in terminalreporter.stats.get("failed", []))
    terminalreporter.section("bars")
    terminalreporter.write_line("\n".join(lines))
    Path(path).write_text("\n".join(lines) + "\n")
