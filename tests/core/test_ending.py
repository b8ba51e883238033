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
