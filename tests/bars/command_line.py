"""Runs a command line in this process and records its output, its processor time and the files it created."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
import time
from pathlib import Path

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train

PROGRAMS = {"rl-train": rl_train.run, "rl-eval": rl_eval.run}
MAX_ERROR_LINES = 12


@dataclasses.dataclass(frozen=True)
class CommandResult:
    exit_code: int
    stdout: str
    stderr: str
    cpu_seconds: float
    created: frozenset[str]  # paths that did not exist before

    def refusal_faults(self, *words: str) -> list[str]:
        """Why this is not a correct refusal of bad input; stderr has to contain each of `words`."""
        found = [f"stderr does not contain {word!r}" for word in words if word not in self.stderr]
        if self.exit_code != 2:
            found.append(f"exit code {self.exit_code}")
        if self.stdout:
            found.append(f"stdout: {self.stdout[:80]!r}")
        if "Traceback" in self.stderr:
            found.append("a traceback")
        if not 2 <= len(self.stderr.splitlines()) <= MAX_ERROR_LINES:
            found.append(f"{len(self.stderr.splitlines())} lines")
        if not self.stderr.isascii() and not self.stderr.replace("\n", "").isprintable():
            found.append("terminal control characters")
        if self.created:
            found.append(f"created {sorted(self.created)[:3]}")
        return found


def run_command(program: str, args: list[str]) -> CommandResult:
    """Run `rl-train` or `rl-eval` with these arguments in the current folder."""
    before, argv = _paths(), sys.argv
    out, err = io.StringIO(), io.StringIO()
    start = time.process_time()
    try:
        sys.argv = [program]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            exit_code = PROGRAMS[program](list(args))
    finally:
        sys.argv = argv
    seconds = time.process_time() - start
    created = frozenset(_paths() - before)
    return CommandResult(exit_code, out.getvalue(), err.getvalue(), seconds, created)


def _paths() -> set[str]:
    """Paths below the current folder, without the bytecode that Python caches."""
    return {str(path) for path in Path().rglob("*") if "__pycache__" not in path.parts}
