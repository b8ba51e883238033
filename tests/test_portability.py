"""The program works on systems without POSIX modules and without fork.

Windows and macOS are not available to the tests. A fresh interpreter imitates them: modules that only
POSIX systems have cannot be imported, and functions that only they have are deleted.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rl_cli.storage import manifest
from tests.conftest import REPO

BLOCK = """
import os, select, signal, sys
for name in ("resource", "fcntl", "termios", "tty", "pwd", "grp", "pty"):
    sys.modules[name] = None
for module, names in (
    (os, "fork forkpty setpgid getpgid killpg getuid geteuid wait"),
    (os, "memfd_create sched_getaffinity set_blocking"),
    (signal, "SIGHUP SIGUSR1 SIGUSR2 SIGALRM setitimer pthread_sigmask"),
    (select, "poll"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""
MAIN = """
import sys
from rl_cli.cli import entry
sys.argv[0] = "{command}"
entry.{name}()
"""
OTHER_COMMANDS = """
import rl_cli
from rl_cli.cli import export, play, report, runs, search

codes = [
    report.run(["run", "output=."]),
    runs.run(["."]),
    export.run(["run", "format=c", "observations=5", "output=."]),
    search.run(["--help"]),
    play.run(["--help"]),
]
assert codes == [0] * 5, codes
run = rl_cli.train(resume="run", total_timesteps=700, display="none", video={{"episodes": 0}})
assert run.state == "completed", run
assert len(rl_cli.evaluate("run", episodes=1, display="none").returns) == 1
"""
POSIX_MODULES = {"resource", "fcntl", "termios", "tty", "pwd", "grp", "pty"}
POSIX_NAMES = {
    *("os.fork", "os.setpgid", "os.getuid", "os.geteuid", "os.register_at_fork", "os.wait"),
    *("os.killpg", "os.memfd_create", "os.sched_getaffinity", "os.set_blocking", "select.poll"),
    *("signal.SIGHUP", "signal.SIGUSR1", "signal.SIGUSR2", "signal.SIGALRM", "signal.SIGKILL"),
    *("signal.setitimer", "signal.pthread_sigmask", "signal.ITIMER_REAL"),
}


@pytest.fixture
def blocked(here):
    """Run a command, or all others, in an interpreter without POSIX modules and functions."""
    site = here / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(BLOCK)  # for the jobs of a sweep as well

    def run(command, *args):
        name = {"rl-train": "train", "rl-eval": "evaluate"}.get(command)
        code = (MAIN if name else OTHER_COMMANDS).format(name=name, command=command)
        return subprocess.run(
            [sys.executable, "-c", code, *args],
            cwd=here,
            env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{REPO}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def records(folder):
    return [json.loads(path.read_text()) for path in sorted(Path(folder).glob("job_*.json"))]


def test_every_command_without_posix(here, tiny, blocked):
    words = [w for w in tiny if not w.startswith(("video", "compile"))]
    args = ["algo=dqn", "env=cartpole", "hparams=none", *words, "run_dir=run"]
    args += ["algo.learning_starts=100", "video.episodes=1", "video.every=400"]
    args += ["env.max_episode_steps=20"]
    done = blocked("rl-train", *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(here.glob("run/videos/*.mp4"))
    assert manifest.steps_in(here / "run/checkpoints")[-1] == 400
    assert not list((here / "run").glob(".lock*"))
    done = blocked("rl-eval", "run", "episodes=1")
    assert (done.returncode, done.stderr) == (0, "")
    done = blocked("rl-train", "resume=run", "total_timesteps=600", "video.episodes=0")
    assert done.returncode == 0, done.stderr
    assert manifest.steps_in(here / "run/checkpoints")[-1] == 600
    done = blocked("the other commands")
    assert done.returncode == 0, done.stderr
    assert (here / "report.html").exists()
    assert (here / "policy.h").exists()
    assert manifest.steps_in(here / "run/checkpoints")[-1] == 700


def test_sweep_without_fork_runs_jobs_in_new_processes(here, tiny, blocked):
    args = ["-m", "algo=reinforce", "env=cartpole", "hparams=none", *tiny, "seed=0,1", "jobs=2"]
    done = blocked("rl-train", *args, "hydra.sweep.dir=sweep")
    assert (done.returncode, done.stderr) == (0, "")
    assert [r["state"] for r in records(here / "sweep")] == ["completed"] * 2
    done = blocked("rl-train", *args, "hydra.sweep.dir=sweep")
    assert done.returncode == 0
    assert len(list(here.glob("runs/*/*/*"))) == 2  # nothing ran again


def test_env_processes_without_fork_are_refused(here, tiny, blocked):
    done = blocked("rl-train", "env=cartpole", *tiny, "env.num_envs=2", "workers=2")
    assert done.returncode == 2
    assert "env processes need fork" in done.stderr
    assert len(done.stderr.splitlines()) == 3


def names_at_import(tree):
    """Modules imported, and names `module.attribute` evaluated, when a module is imported."""
    for node in tree.body:
        yield from _names(node)


def _names(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for expression in (*node.args.defaults, *getattr(node, "decorator_list", ())):
            yield from _names(expression)
        return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute):
        yield ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def test_no_module_uses_posix_at_import():
    found = {}
    for path in sorted((REPO / "rl_cli").rglob("*.py")):
        used = set(names_at_import(ast.parse(path.read_text())))
        if wrong := used & (POSIX_MODULES | POSIX_NAMES):
            found[path.name] = wrong
    assert not found


def test_the_check_of_imports_finds_what_is_evaluated_at_import():
    source = "import fcntl\nX = signal.SIGHUP\ndef f(s=signal.SIGALRM):\n    import resource\n    os.fork()"
    used = set(names_at_import(ast.parse(source)))
    assert used & (POSIX_MODULES | POSIX_NAMES) == {"fcntl", "signal.SIGHUP", "signal.SIGALRM"}
