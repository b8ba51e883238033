"""Run a build in a child process, so that a signal to the run ends the build at once.

The child has a process group of its own: it and the compilers it starts receive no signal from the
terminal, and are killed together.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from rl_cli.core import processes
from rl_cli.core.errors import UpdateInterrupted

Notify = Callable[[str], None]

Job = Callable[[Notify], None]

POLL = 0.05
"""Seconds between two checks for an interruption."""

NOTE, END = b"n", b"e"

CUDA_AFTER_FORK = "in forked subprocess"
"""In torch's message if the parent has started CUDA: torch's compiler queries CUDA devices, also for
code for the CPU. The build then runs in this process."""


def run(job: Job, notify: Notify, interrupted: Callable[[], bool]) -> None:
    """Call job(notify) in a forked child process; in this process where that is not possible.

    Raises:
        RuntimeError: the job failed, with its message; its process was killed.
        UpdateInterrupted: `interrupted` became true; every process of the job has been killed.

    """
    started = _start(job)
    if started is None:
        job(notify)
        return
    process, pipe = started
    try:
        problem = _follow(process, pipe, notify, interrupted)
    finally:
        _kill_group(process)
        pipe.close()
    if problem and CUDA_AFTER_FORK in problem:
        job(notify)
    elif problem:
        raise RuntimeError(problem)


def _start(job: Job) -> tuple[Any, Connection] | None:
    """None: this system, process or thread cannot fork, or has no memory for it."""
    if sys.platform != "linux" or not hasattr(os, "fork"):
        return None
    if multiprocessing.current_process().daemon or not processes.in_main_thread():
        return None  # a daemon may have no child processes
    # A forked child cannot use CUDA, and torch's compiler queries it.
    if torch.cuda.is_initialized():
        return None
    try:
        return processes.fork(lambda pipe: _work(job, pipe))
    except OSError:
        return None


def _follow(process: Any, pipe: Connection, notify: Notify, interrupted: Callable[[], bool]) -> str:
    """Pass on the job's notes until it ends. -> why it failed; empty if it did not."""
    try:
        while not interrupted():
            if pipe.poll(POLL):
                message = pipe.recv_bytes()
                kind, text = message[:1], message[1:].decode()
                if kind == END:
                    return text
                notify(text)
    except (EOFError, OSError):
        return f"the build process {processes.how_it_ended(process)}"
    raise UpdateInterrupted


def _kill_group(process: Any) -> None:
    with contextlib.suppress(OSError):  # it has ended, or has not made its group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _work(job: Job, pipe: Connection) -> None:
    """In the child process. If the run is killed, its group ends: the compilers of this build, too."""
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    processes.end_with_parent(signal.SIGTERM)
    torch.set_num_threads(1)  # the other threads of OpenMP do not exist in a forked process
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  a lock of the progress display may be held
    sys.stdout = sys.stderr = nowhere
    problem = ""
    try:
        job(lambda text: pipe.send_bytes(NOTE + text.encode()))
    except Exception as error:
        problem = str(error).strip() or repr(error)
    pipe.send_bytes(END + problem.encode())
