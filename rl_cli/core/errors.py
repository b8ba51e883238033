"""What can go wrong, and the exit code each kind ends in (docs/run-folder.md, "Exit codes")."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 400
"""Characters of one line of a message; what is cut is cut from the middle."""


def plain(text: str) -> str:
    """`text` as it may go to a terminal: one line of bounded length, nothing that steers.

    Line breaks, escape sequences, marks of writing direction and halves of characters are spelt out.
    """
    shown = "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _STEERING else c
        for c in (text if len(text) <= 2 * LONGEST else f"{text[:LONGEST]}...{text[-LONGEST:]}")
    )
    half = LONGEST // 2
    return shown if len(shown) <= LONGEST else f"{shown[:half]} ... {shown[-half:]}"


_STEERING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


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
        lines = [f"error: {plain(self.what)}"]
        for label, text in (("where", self.where), ("do", self.fix), ("kept", self.kept)):
            if text:
                lines.append(f"  {label}: {plain(text)}")
        return "\n".join(lines)


class EnvFault(RunError):
    """An env raised, hung, or its process died."""


class UpdateInterrupted(Exception):
    """The run was asked to stop while the learning step compiled; the update has changed nothing."""


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
    """The known word closest to `word`, or None when nothing comes near.

    A slip of the pen comes first, then initials (lr: learning_rate), then a word begun or run on
    (environment: env), then what is at least half alike.
    """
    candidates = {k.lower(): k for k in known}
    word = word.lower()

    def alike(cutoff: float) -> list[str]:
        return difflib.get_close_matches(word, list(candidates), n=1, cutoff=cutoff)

    initials = [k for k in candidates if word == "".join(part[:1] for part in k.split("_"))]
    begun = [k for k in candidates if len(word) > 2 < len(k) and word.startswith(k)]
    begun += [k for k in candidates if len(word) > 2 and k.startswith(word)]
    found = alike(0.8) or initials or begun or alike(0.5)
    return candidates[found[0]] if found and len(word) <= LONGEST else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A "did you mean" sentence, or `otherwise` when nothing comes near."""
    match = nearest(word, known)
    return f"did you mean {match}?" if match else otherwise
