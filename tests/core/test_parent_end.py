"""A process whose parent is killed gets a stop signal, and can save."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

CHILD = """
import os, signal, sys, time
from types import SimpleNamespace
from rl_cli.core import processes
from rl_cli.training.signals import Interruption
interruption = Interruption(SimpleNamespace(stopping=lambda: time.sleep(0.02)))  # the parent's threads end meanwhile
with interruption.listening():
    processes.end_with_parent(signal.SIGTERM)
    print("ready", flush=True)
    end = time.monotonic() + 60
    while not interruption() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.3)  # saves a checkpoint
    open(sys.argv[1] + ".part", "w").write(str(interruption.signum))
    os.replace(sys.argv[1] + ".part", sys.argv[1])
"""
PARENT = """
import subprocess, sys, threading, time
for _ in range(60):
    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
time.sleep(99)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_parent_with_many_threads_that_is_killed_leaves_time_to_save(tmp_path):
    """The kernel sends the signal again for each thread that adopts the child before it ends itself."""
    out = tmp_path / "count"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(out)], stdout=subprocess.PIPE
    )
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while not out.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert out.read_text() == str(int(signal.SIGTERM))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_process_whose_parent_ended_before_it_asked_gets_the_signal():
    code = "import os, signal, sys\nfrom rl_cli.core import processes\n"
    code += "processes.end_with_parent(signal.SIGTERM, os.getppid() + int(sys.argv[1]))"
    codes = [subprocess.run([sys.executable, "-c", code, n]).returncode for n in "01"]
    assert codes == [0, -signal.SIGTERM]
