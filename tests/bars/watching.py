"""Runs a command in a child and notes what it does: writes, imports, processes, connections.

The child is forked from a process that has imported everything, so that what is measured and noted
is the command's own doing. Nothing is prevented: the hook only takes notes.
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

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link"),
    *("os.symlink", "shutil.rmtree", "shutil.move", "shutil.copyfile"),
}
NEVER = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty."),
    *("socket.connect", "socket.getaddrinfo", "urllib.Request", "pickle.find_class", "webbrowser"),
)
EXTRAS = {"mujoco", "mujoco_py", "ale_py", "jax"}  # gymnasium's own, looked for by their envs
INSTALLED = {*sys.stdlib_module_names, *packages_distributions(), *EXTRAS, "rl_cli"}
NOT_EVEN_THEN = {"antigravity", "this", "idlelib", "pydoc_data"}  # there, and nothing of ours


@dataclasses.dataclass
class Seen:
    """How a command ended and what it did."""

    code: int
    out: str
    err: str
    did: list[str]
    cpu: float  # seconds
    grown: float  # MB of memory beyond what the process began with


def watch(run: Callable[[], int], folder: Path, may_write: list[Path], seconds: int = 20) -> Seen:
    """Call `run` in a child whose current folder is `folder`."""
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
    return Seen(out=out, err=err, **json.loads(report))


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
        file.write("5")  # the high-water mark of memory begins here
    before, begun, did = _memory("VmRSS"), time.process_time(), []
    sys.meta_path.insert(0, _Imports(did))
    sys.addaudithook(_hook(did, [os.path.realpath(path) for path in may_write]))
    code = run()
    sys.stdout.flush(), sys.stderr.flush()
    did_now, cpu = list(did), time.process_time() - begun
    seen = {"code": code, "did": did_now, "cpu": cpu, "grown": (_memory("VmHWM") - before) / 1024}
    os.write(handles[2], json.dumps(seen).encode())
    os._exit(0)


def _is_handle(value: object) -> bool:
    """Whether the last argument of an event is a folder's handle; -1 stands for none."""
    return isinstance(value, int) and value >= 0


class _Imports:
    """Stands before the other finders and notes what is looked for; not all imports are audited."""

    def __init__(self, did: list[str]) -> None:
        self.did = did

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        top = name.split(".")[0]
        if top not in INSTALLED or top in NOT_EVEN_THEN:
            self.did.append(f"imported {name}")


def _memory(what: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what))


def _hook(did: list[str], may_write: list[str]) -> Callable[[str, tuple[Any, ...]], None]:
    def elsewhere(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        real = os.path.realpath(os.fsdecode(path))
        return real != "/dev/null" and not real.startswith(tuple(may_write))

    def note(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            if (args[2] or 0) & WRITING and elsewhere(args[0]):
                did.append(f"wrote {args[0]}")
        elif event in PATHS and not (event == "os.mkdir" and os.path.isdir(args[0])):
            named = [path for path in args[:2] if isinstance(path, str | bytes | os.PathLike)]
            base = f"/proc/self/fd/{args[-1]}" if len(args) > 1 and _is_handle(args[-1]) else ""
            did.extend(f"{event} {path}" for p in named if elsewhere(path := os.path.join(base, p)))
        elif event in ("exec", "compile"):
            origin = str(args[0].co_filename if event == "exec" else args[1])
            if origin[:1] != "<" and os.path.realpath(origin).startswith(os.getcwd()):
                did.append(f"{event} of {origin}")
        elif event.startswith(NEVER):
            did.append(f"{event} {args}")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        with contextlib.suppress(Exception):  # a note that cannot be taken must change nothing
            note(event, args)

    return hook
