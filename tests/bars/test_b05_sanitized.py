"""B5: forged states on C code built with AddressSanitizer and UndefinedBehaviorSanitizer. Long form only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bars.forged_states import RUNS
from tests.bars.results import report
from tests.conftest import FULL, REPO

EACH = 400
"""Forged states of each kind of run."""


def libasan() -> str | None:
    """The sanitizer's library of g++, which has to be loaded before Python; None: there is none."""
    compiler = shutil.which("g++")
    if sys.platform != "linux" or compiler is None:
        return None
    words = [compiler, "-print-file-name=libasan.so"]
    path = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    return path if Path(path).is_file() else None


pytestmark = [
    pytest.mark.skipif(not FULL, reason="long form only: takes minutes"),
    pytest.mark.skipif(FULL and libasan() is None, reason="g++ has no libasan"),
]


def run(argument, cache):
    env = {
        **os.environ,
        "LD_PRELOAD": libasan(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": str(REPO),
    }
    words = [sys.executable, "-m", "tests.bars.sanitized_collectors", argument]
    return subprocess.run(words, cwd=REPO, env=env, capture_output=True, text=True, check=False)


def test_forged_states_write_and_read_inside_the_buffers(tmp_path):
    done = run(str(EACH), tmp_path)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert done.stdout.split()[-1] == str(EACH * len(RUNS))
    report(5, EACH * len(RUNS), EACH * len(RUNS), f"with AddressSanitizer: {done.stdout.strip()}")


def test_sanitizer_ends_a_process_that_writes_outside_a_buffer(tmp_path):
    done = run("outside", tmp_path)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
