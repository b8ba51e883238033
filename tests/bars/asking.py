"""A command line carried out in this process: what it said, how long it took, what it left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import time
from pathlib import Path

from rl_cli.cli import evaluate as rl_eval
from rl_cli.cli import train as rl_train

FULL = os.environ.get("RL_CLI_BARS") == "full"
PROGRAMS = {"rl-train": rl_train.run, "rl-eval": rl_eval.run}
MOST_LINES = 12


@dataclasses.dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str
    seconds: float  # of the processor
    left: frozenset[str]  # paths that were not there before

    def flaws(self, *words: str) -> list[str]:
        """Why this is not how bad input is refused; `words` are to be in what it says."""
        found = [f"says nothing of {word!r}" for word in words if word not in self.err]
        if self.code != 2:
            found.append(f"exit code {self.code}")
        if self.out:
            found.append(f"stdout: {self.out[:80]!r}")
        if "Traceback" in self.err:
            found.append("a traceback")
        if not 2 <= len(self.err.splitlines()) <= MOST_LINES:
            found.append(f"{len(self.err.splitlines())} lines")
        if not self.err.isascii() and not self.err.replace("\n", "").isprintable():
            found.append("characters that steer a terminal")
        if self.left:
            found.append(f"left {sorted(self.left)[:3]}")
        return found


def ask(program: str, args: list[str]) -> Answer:
    """Carry out a command line in the current folder."""
    before, argv = contents(), sys.argv
    out, err = io.StringIO(), io.StringIO()
    begun = time.process_time()
    try:
        sys.argv = [program]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = PROGRAMS[program](list(args))
    finally:
        sys.argv = argv
    seconds = time.process_time() - begun
    return Answer(code, out.getvalue(), err.getvalue(), seconds, frozenset(contents() - before))


def contents() -> set[str]:
    """But for what Python keeps of a module that was imported."""
    return {str(path) for path in Path().rglob("*") if "__pycache__" not in path.parts}
