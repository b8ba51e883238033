"""Runs a function in a child process and records its writes, imports, processes and connections.

The child is forked from a process that has imported everything, so that the records contain only what the
function itself does. The audit hook records events and blocks none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATH_EVENTS = {
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link"),
    *("os.symlink", "shutil.rmtree", "shutil.move", "shutil.copyfile"),
}
PREFIXES = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty."),
    *("socket.connect", "socket.getaddrinfo", "urllib.Request", "pickle.find_class", "webbrowser"),
)
OPTIONAL = {"mujoco", "mujoco_py", "ale_py", "jax"}  # Gymnasium looks for them
INSTALLED = {*sys.stdlib_module_names, *packages_distributions(), *OPTIONAL, "rl_cli"}
UNUSED = {"antigravity", "this", "idlelib", "pydoc_data"}  # installed, but the program imports none


@dataclasses.dataclass
class AuditedRun:
    """Return value, output, recorded events and use of resources."""

    exit_code: int
    stdout: str
    stderr: str
    events: list[str]
    cpu_seconds: float
    memory_mb: float  # peak, beyond what the process used at the start


def run_audited(
    run: Callable[[], int], folder: Path, may_write: list[Path], seconds: int = 20
) -> AuditedRun:
    """Call `run` in a child process whose current folder is `folder`.

    Writes outside `may_write` are recorded. The child is ended after `seconds` of processor time.
    """
    streams = [folder.parent / f".{folder.name}.{name}" for name in ("out", "err", "report")]
    sys.stdout.flush(), sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            _child(run, folder, may_write, streams, seconds)
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    out, err, report = (path.read_text(errors="surrogateescape") for path in streams)
    assert status == 0, f"ended by {status}:\n{out}{err}"
    return AuditedRun(stdout=out, stderr=err, **json.loads(report))


def _child(
    run: Callable[[], int],
    folder: Path,
    may_write: list[Path],
    streams: list[Path],
    seconds: int,
) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    os.chdir(folder)
    handles = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644) for path in streams]
    for stream in (1, 2):
        os.dup2(handles[stream - 1], stream)
    sys.stdout, sys.stderr = (open(n, "w", closefd=False, errors="strict") for n in (1, 2))  # noqa: SIM115
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets the peak of memory, VmHWM
    before, start, events = _memory("VmRSS"), time.process_time(), []
    sys.meta_path.insert(0, _ImportRecorder(events))
    sys.addaudithook(_hook(events, [os.path.realpath(path) for path in may_write]))
    code = run()
    sys.stdout.flush(), sys.stderr.flush()
    recorded, cpu = list(events), time.process_time() - start
    report = {"exit_code": code, "events": recorded, "cpu_seconds": cpu}
    report["memory_mb"] = (_memory("VmHWM") - before) / 1024
    os.write(handles[2], json.dumps(report).encode())
    os._exit(0)


def _is_handle(value: object) -> bool:
    """Whether the last argument of an event is the handle of a folder; -1 means none."""
    return isinstance(value, int) and value >= 0


class _ImportRecorder:
    """First finder in sys.meta_path: records module names, because not every import is an audit event."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        top = name.split(".")[0]
        if top not in INSTALLED or top in UNUSED:
            self.events.append(f"imported {name}")


def _memory(what: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what))


def _hook(events: list[str], may_write: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    def is_outside(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        real = os.path.realpath(os.fsdecode(path))
        return real != "/dev/null" and not real.startswith(tuple(may_write))

    def record(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if (args[2] or 0) & WRITE_FLAGS and is_outside(args[0]):
                events.append(f"wrote {args[0]}")
        elif event in PATH_EVENTS and not (event == "os.mkdir" and os.path.isdir(args[0])):
            paths = [path for path in args[:2] if isinstance(path, str | bytes | os.PathLike)]
            base = f"/proc/self/fd/{args[-1]}" if len(args) > 1 and _is_handle(args[-1]) else ""
            events.extend(
                f"{event} {path}" for p in paths if is_outside(path := os.path.join(base, p))
            )
        elif event in ("exec", "compile"):
            origin = str(args[0].co_filename if event == "exec" else args[1])
            if origin[:1] != "<" and os.path.realpath(origin).startswith(os.getcwd()):
                events.append(f"{event} of {origin}")
        elif event.startswith(PREFIXES):
            events.append(f"{event} {args}")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        with contextlib.suppress(Exception):  # a failing record must not change the run
            record(event, args)

    return hook
