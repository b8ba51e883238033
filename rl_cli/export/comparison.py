"""How far an exported policy is from the trained one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from rl_cli.core.errors import RunError

TOLERANCE = 1e-4
"""Largest difference, relative to the largest value (at least 1). Rounding of float32 stays far below."""

ROUNDED = 0.01
"""Share of integers of continuous policies that may differ by 1: values near a half are rounded either way."""


class Difference(NamedTuple):
    """Between an exported policy and the trained one."""

    what: str  # the numbers compared
    largest: float  # absolute
    bound: float  # largest that is accepted
    other_actions: (
        int  # discrete actions that differ, each between scores that are equal within the bound
    )

    def text(self) -> str:
        """One line."""
        line = f"largest difference from the policy: {self.largest:.1e} in {self.what}"
        line += f", bound {self.bound:.1e}"
        if self.other_actions:
            line += (
                f"; {self.other_actions} actions differ where two scores are equal within the bound"
            )
        return line


def compare(exported: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Difference:
    """Compare outputs of two policies on the same observations.

    Args:
        exported: `action` (B, ...) and, of discrete actions, `scores` (B, A).
        reference: the same of the trained policy.

    Raises:
        RunError: shapes or dtypes differ, a number is not finite, or a difference exceeds the bound.

    """
    for name, expected in reference.items():
        found = exported[name]
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise _refused(
                f"{name} is {found.dtype} {found.shape}, not {expected.dtype} {expected.shape}"
            )
    if "scores" not in reference:
        return _of_actions(exported["action"], reference["action"])
    difference = _distance("scores", exported["scores"], reference["scores"])
    scores = reference["scores"]
    differs = exported["action"] != reference["action"]
    rows = differs.reshape(len(differs), -1).any(-1)
    if rows.any() and exported["action"].ndim == 1 and scores.shape[-1] > 1:
        ordered = np.sort(scores[rows], axis=-1)
        if (ordered[:, -1] - ordered[:, -2] > 2 * difference.bound).any():
            raise _refused("an action differs although one score is clearly the largest")
    return difference._replace(other_actions=int(rows.sum()))


def _of_actions(found: np.ndarray, expected: np.ndarray) -> Difference:
    if expected.dtype.kind in "iu":
        apart = np.abs(found.astype(np.int64) - expected.astype(np.int64))
        if apart.max() > 1 or (apart > 0).mean() > ROUNDED:
            raise _refused(f"actions differ by up to {apart.max()}")
        return Difference("actions", float(apart.max()), 1.0, 0)
    return _distance("actions", found, expected)


def _distance(what: str, found: np.ndarray, expected: np.ndarray) -> Difference:
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    bound = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    largest = float(np.abs(found - expected).max())
    if not largest <= bound:  # also NaN
        raise _refused(f"{what} differ by {largest:.1e}; the bound is {bound:.1e}")
    return Difference(what, largest, bound, 0)


def _refused(why: str) -> RunError:
    return RunError(
        f"the exported policy is not the trained one: {why}",
        "nothing was written",
        "report this, with the configuration of the run",
    )
