"""TODO."""

from __future__ import annotations

import math
import statistics
from collections import deque


class Divergence:
    """Notices a loss that is still a number but no longer what it was. Said once."""

    FACTOR = 10_000
    ENOUGH = 10  # rows before there is a usual size to compare with

    def __init__(self) -> None:
        self.sizes: deque[float] = deque(maxlen=50)
        self.said = False

    def begins(self, loss: float) -> bool:
        """Whether this row's loss is the first that dwarfs the median of those before it."""
        usual = statistics.median(self.sizes) if len(self.sizes) >= self.ENOUGH else math.inf
        self.sizes.append(abs(loss))
        if self.said or abs(loss) <= self.FACTOR * max(usual, 1e-8):
            return False
        self.said = True
        return True
