"""The end of a process is not kept by what an env has left running."""

import os
import subprocess
import sys

import pytest

CODE = """
import atexit, threading, time
from rl_cli.core import ending, terminal
terminal.protect()
ending.SECONDS = 0.2
{left}
ending.end_in_time(3)
raise SystemExit(3)
"""


@pytest.mark.parametrize(
    ("left", "named"),
    [
        ("", ""),
        ("threading.Thread(target=time.sleep, args=(60,), name='viewer').start()", "run: viewer"),
        ("atexit.register(time.sleep, 60)", "an exit function"),
    ],
)
def test_process_ends_in_time_with_its_code(left, named):
    code = CODE.format(left=left)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=os.environ
    )
    assert done.returncode == 3
    assert named in done.stderr
    assert bool(done.stderr) == bool(named)


def test_what_an_env_leaves_to_raise_at_the_end_costs_a_line_each():
    left = """
def fail(): raise ValueError("\\x1b[2J\\nviewer")
class Viewer:
    def __del__(self): fail()
atexit.register(fail)
Viewer()
"""
    code = CODE.format(left=left)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("note: ") and r"ValueError: \x1b[2J" in line for line in lines)
