"""Forked child processes may start processes of their own, which end with them."""

import multiprocessing
import os
import signal
import time

import pytest

from rl_cli.core import processes

pytestmark = pytest.mark.skipif(not processes.can_fork(), reason="this system has no fork")
CONTEXT = multiprocessing.get_context("fork") if processes.can_fork() else None


def gone(pid):
    """Whether a process ends within two seconds."""
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True  # waits for its parent, which here is init
        except OSError:
            return True
        time.sleep(0.01)
    return False


def simulator():
    """A process as an env starts it: it does not end by itself."""
    child = CONTEXT.Process(target=time.sleep, args=(60,))
    child.start()
    return child


def test_a_child_may_have_children_and_terminate_ends_them():
    def act(pipe):
        child = simulator()
        pipe.send(child.pid)
        child.terminate()  # SIGTERM, which this process itself ignores
        child.join(5)
        pipe.send(child.exitcode)

    process, pipe = processes.fork(act)
    assert pipe.poll(5)
    pipe.recv()
    assert pipe.recv() == -signal.SIGTERM
    processes.end(process)
    assert process.exitcode == 0


def test_processes_that_a_child_leaves_behind_are_killed(monkeypatch):
    monkeypatch.setattr(processes, "END_TIMEOUT", 0.2)

    def act(pipe):
        pipe.send(simulator().pid)
        # at its end multiprocessing waits for the simulator, until this process is killed

    process, pipe = processes.fork(act)
    pid = pipe.recv()
    processes.end(process)
    assert gone(pid)


def test_a_child_is_ended_at_exit_of_its_parent():
    """Waiting for it, as for processes that are no daemons, could last forever."""
    process, _ = processes.fork(lambda pipe: time.sleep(60))
    assert process.daemon
    os.kill(process.pid, signal.SIGKILL)
    processes.end(process)
