"""What several test files need."""

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

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
os.environ["XDG_CACHE_HOME"] = os.environ.get(
    "RL_CLI_TEST_CACHE", str(Path(tempfile.gettempdir()) / f"rl-cli-tests-{os.getuid()}")
)  # not the cache of whoever runs the tests; kept, since what it holds goes by its content

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(here):
    """Run rl-train, rl-eval or rl-play as a person would, in the empty folder; -> CompletedProcess."""

    def run(name: str, *args: str, env: dict[str, str] | None = None, timeout: float = 120):
        module = {
            "rl-train": "rl_cli.cli.train",
            "rl-eval": "rl_cli.cli.evaluate",
            "rl-play": "rl_cli.cli.play",
        }[name]
        code = f"import sys; from {module} import main; sys.argv[0] = {name!r}; main()"
        # -I: neither the current folder nor PYTHONPATH helps, as with an installed command
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
    """Overrides that make a run last about a second."""
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
MODULES = {"mujoco": "mujoco", "atari": "ale_py"}


def of_this_machine(mistakes):
    """Those of [(arguments, words of the answer), ...] that are mistakes: an extra may be installed."""

    def is_installed(words):
        named = PIP_LINE.findall(" ".join(words))
        return any(importlib.util.find_spec(MODULES[extra]) for extra in named)

    return [case for case in mistakes if not is_installed(case[1])]


RESULT = re.compile(r"^B(\d+) got/needed: ([\d,]+)/([\d,]+)", re.MULTILINE)


def pytest_terminal_summary(terminalreporter, exitstatus):
    """The bars' results, one line each; `make bars` keeps them in benchmarks/bars.txt."""
    kept = os.environ.get("RL_CLI_BARS_FILE")
    if kept is None:
        return
    reports = [r for reports in terminalreporter.stats.values() for r in reports]
    sums: dict[int, list[int]] = {}
    for report in (r for r in reports if getattr(r, "when", "") == "call"):
        for bar, got, needed in RESULT.findall(getattr(report, "capstdout", "")):
            of = sums.setdefault(int(bar), [0, 0])
            of[0], of[1] = of[0] + int(got.replace(",", "")), of[1] + int(needed.replace(",", ""))
    lines = [f"B{bar} got/needed: {got}/{needed}" for bar, (got, needed) in sorted(sums.items())]
    lines += sorted(f"FAILED {r.nodeid}" for r in terminalreporter.stats.get("failed", []))
    terminalreporter.section("bars")
    terminalreporter.write_line("\n".join(lines))
    Path(kept).write_text("\n".join(lines) + "\n")
