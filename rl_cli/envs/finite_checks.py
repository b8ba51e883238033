"""TODO."""

from __future__ import annotations

import math

import numpy as np

FIX = "mend the env; a wrapper of your own may clip or replace the value"


def _is_finite(array: np.ndarray) -> bool:
    """A sum of squares is finite only if all are; where it overflows, they are looked at one by one."""
    flat = array.ravel()
    return math.isfinite(flat.dot(flat)) or bool(np.isfinite(flat).all())
