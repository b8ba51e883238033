"""Exceptions of a run, each with its exit code (docs/run-folder.md, "Exit codes")."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 400
"""Characters of one line of a message; longer lines are cut in the middle."""


LONGEST_ADVICE = 5_000
"""Characters of what to do, which may list the keys of a group, or a line to paste, which must not be cut."""


def plain(text: str, longest: int = LONGEST) -> str:
    """`text` as one line of at most `longest` characters that is safe to print on a terminal.

    Line breaks, control and escape sequences, marks of writing direction and lone surrogates are
    replaced by their Python escapes.
    """
    shown = escaped(text if len(text) <= 2 * longest else f"{text[:longest]}...{text[-longest:]}")
    half = longest // 2
    return shown if len(shown) <= longest else f"{shown[:half]} ... {shown[-half:]}"


def escaped(text: str) -> str:
    """`text` with everything that could control a terminal replaced by Python escapes; see `plain`."""
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c
        for c in text
    )


def first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its type; also if its `__str__` raises."""
    try:
        lines = str(error)[: 2 * LONGEST].strip().splitlines()
    except BaseException as problem:
        return f"its text cannot be read ({type(problem).__name__})"
    return lines[0] if lines else type(error).__name__


_ESCAPED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class RunError(Exception):
    """An error that the user can act on, printed on stderr as short lines without a traceback.

    Args:
        what: what happened.
        where: the key, file or env it concerns.
        fix: what to do about it.

    Attributes:
        kept: the checkpoint that the run can be resumed from, if any.

    """

    exit_code = 1

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix
        self.kept = ""
        self.steps = 0

    def add_steps(self, steps: int) -> None:
        """Count env steps that a collector completed in the call that raised this error."""
        self.steps += steps

    def locate(self, place: str, kept: str) -> None:
        """Put a place in front of `where`, and name the checkpoint to resume from."""
        self.where, self.kept = ", ".join(filter(None, [place, self.where])), kept

    def qualify(self, remark: str) -> None:
        """Append a remark to `where`."""
        self.where = f"{self.where} {remark}"

    def __str__(self) -> str:
        lines = [f"error: {plain(self.what)}"]
        for label, text in (("where", self.where), ("do", self.fix), ("kept", self.kept)):
            if text:
                longest = LONGEST_ADVICE if label == "do" else LONGEST
                lines.append(f"  {label}: {plain(text, longest)}")
        return "\n".join(lines)


class EnvFault(RunError):
    """An env raised an exception, hung, or its process ended."""


class UpdateInterrupted(Exception):
    """A signal stopped the run while the update step compiled; the update has changed nothing."""


class BadInput(RunError):
    """The input is invalid; nothing was started."""

    exit_code = 2


class NonFinite(RunError):
    """A loss, gradient or return is not finite."""

    exit_code = 3


class StorageError(RunError):
    """A file of the run could not be written."""

    exit_code = 4


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word`, or None if none is similar.

    In this order: a similarity of at least 0.8 (difflib), initials (lr: learning_rate), one word a
    prefix of the other (environment: env) if only one known word is, a similarity of at least 0.7.
    """
    candidates = {k.lower(): k for k in known}
    word = word.lower()

    def alike(cutoff: float) -> list[str]:
        return difflib.get_close_matches(word, list(candidates), n=1, cutoff=cutoff)

    initials = [k for k in candidates if word == "".join(part[:1] for part in k.split("_"))]
    prefixes = [k for k in candidates if len(word) > 3 and len(k) > 2 and word.startswith(k)]
    prefixes += [k for k in candidates if len(word) > 3 and k.startswith(word)]
    found = alike(0.8) or initials or (prefixes if len(prefixes) == 1 else []) or alike(0.7)
    return candidates[found[0]] if found and len(word) <= LONGEST else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A "did you mean" question, or `otherwise` if no known word is similar."""
    match = nearest(word, known)
    return f"did you mean {match}?" if match else otherwise
