"""A process whose parent is killed gets one stop signal of it, so that it can save."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

CHILD = """
import os, signal, sys, time
from rl_cli.core import processes, stop_signals
found = []
def handle(signum, frame):
    found.append(signum)
    time.sleep(0.02)  # the parent's threads end meanwhile
    if sys.argv[2] == "recorded":
        stop_signals.record(signum)
signal.signal(signal.SIGTERM, handle)
processes.stop_with_parent()
if sys.argv[2] == "before":
    stop_signals.record(signal.SIGINT)
print("ready", flush=True)
end = time.monotonic() + (1 if sys.argv[2] == "before" else 60)
while not found and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.3)
open(sys.argv[1] + ".part", "w").write(str(found.count(signal.SIGTERM)))
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
@pytest.mark.parametrize(("case", "signals"), [("handled", 1), ("recorded", 1), ("before", 0)])
def test_parent_with_many_threads_that_is_killed_gives_one_signal(tmp_path, case, signals):
    """The kernel sends its signal again for each thread that adopts the child before it ends itself.

    None counts after another stop signal.
    """
    out = tmp_path / "count"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(out), case], stdout=subprocess.PIPE
    )
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 60
    while not out.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert out.read_text() == str(signals)
