"""What can go wrong, and the exit code each kind ends in (docs/run-folder.md, "Exit codes")."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RunError(Exception):
    """An error a person can act on: what happened, where, and what to do about it.

    Printed as three short lines on stderr, never as a traceback.
    """

    exit_code = 1

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix
        self.kept = ""  # of a run: what there is to go on from

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  do: {self.fix}")
        if self.kept:
            lines.append(f"  kept: {self.kept}")
        return "\n".join(lines)


class EnvFault(RunError):
    """An env raised, hung, or its process died."""


class BadInput(RunError):
    """The request cannot be carried out; nothing was started."""

    exit_code = 2


class NonFinite(RunError):
    """A loss, a gradient or a return is no longer a finite number."""

    exit_code = 3


class StorageError(RunError):
    """A file of the run could not be written."""

    exit_code = 4


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or None when nothing comes near."""
    candidates = {k.lower(): k for k in known}
    found = difflib.get_close_matches(word.lower(), list(candidates), n=1, cutoff=0.5)
    return candidates[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A "did you mean" sentence, or `otherwise` when nothing comes near."""
    match = nearest(word, known)
    return f"did you mean {match}?" if match else otherwise
