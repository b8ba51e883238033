"""Sum tree: sampling of rows in proportion to their weights."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

import numpy as np

from rl_cli.engine import build_cache

SOURCE = Path(__file__).with_suffix(".c")

WIDTH = 16
"""Children of a node. A level costs the same few numpy calls whatever its width."""


class SumTree:
    """`capacity` weights >= 0; setting and finding take one vectorized pass per level.

    Schaul et al. 2016 (arXiv:1511.05952), appendix B.2.1. A node is always recomputed as the sum of
    its children, so its bits depend on the current weights only.
    """

    def __init__(self, capacity: int) -> None:
        self.levels: list[np.ndarray] = []  # (nodes / WIDTH, WIDTH) each, leaves first
        nodes = capacity
        while True:
            groups = -(-nodes // WIDTH)
            self.levels.append(np.zeros((groups, WIDTH)))
            if groups == 1:
                break
            nodes = groups
        self.native: _NativeTree | None = None
        with contextlib.suppress(OSError, RuntimeError):  # numpy gives the same results, slower
            self.native = _NativeTree(
                build_cache.load(SOURCE, flags=build_cache.EXACT), self.levels
            )

    @property
    def total(self) -> float:
        return float(self.levels[-1].sum())

    def get(self, positions: np.ndarray) -> np.ndarray:
        """Weights of rows. (B,) int64 -> (B,) float64."""
        weights: np.ndarray = self.levels[0].reshape(-1)[positions]
        return weights

    def set(self, positions: np.ndarray, weights: np.ndarray | float) -> None:
        """Set the weights (B,) of rows (B,); of a row that occurs twice, the last weight counts."""
        if self.native is not None:
            return self.native.set(positions, weights)
        self.levels[0].reshape(-1)[positions] = weights
        return self._update_sums(positions // WIDTH)

    def _update_sums(self, groups: np.ndarray) -> None:
        """Recompute the sums above these groups of leaves."""
        for below, above in zip(self.levels, self.levels[1:], strict=False):
            above.reshape(-1)[groups] = below[groups].sum(-1)
            groups = groups // WIDTH

    def fill(self, weights: np.ndarray) -> None:
        """Set the weights (n,) of the first n rows, and 0 for all others."""
        for level in self.levels:
            level.fill(0.0)
        self.levels[0].reshape(-1)[: len(weights)] = weights
        self._update_sums(np.arange(len(self.levels[0])))

    def find(self, points: np.ndarray) -> np.ndarray:
        """The row whose interval of the cumulative weights contains each point. (B,) -> (B,) int64.

        Points are in [0, total).
        """
        if self.native is not None:
            return self.native.find(points)
        node = np.zeros(len(points), np.int64)
        rows, left = np.arange(len(points)), points.copy()
        for level in reversed(self.levels):
            children = level[node]  # (B, WIDTH)
            ends = children.cumsum(-1)
            inside = ends > left[:, None]
            last = (
                WIDTH - 1 - (children[:, ::-1] > 0).argmax(-1)
            )  # rounding: no interval ends after the point
            child = np.where(inside[:, -1], inside.argmax(-1), last)
            left -= ends[rows, child] - children[rows, child]
            node = node * WIDTH + child
        return node


class _Tree(ctypes.Structure):
    """`Tree` of sum_tree.c."""

    _fields_ = (
        ("levels", ctypes.c_int),
        ("groups", ctypes.POINTER(ctypes.c_long)),
        ("level", ctypes.POINTER(ctypes.c_void_p)),
    )


class _NativeTree:
    """`set` and `find` in C on the same arrays, with bit-identical results."""

    def __init__(self, library: ctypes.CDLL, levels: list[np.ndarray]) -> None:
        pointers = (ctypes.c_void_p * len(levels))(*(level.ctypes.data for level in levels))
        groups = (ctypes.c_long * len(levels))(*map(len, levels))
        self.tree = _Tree(len(levels), groups, pointers)
        self.address, self.library = ctypes.addressof(self.tree), library
        arguments = (ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
        library.set.argtypes, library.set.restype = arguments, None
        library.find.argtypes, library.find.restype = arguments, ctypes.c_long

    def set(self, positions: np.ndarray, weights: np.ndarray | float) -> None:
        rows = np.ascontiguousarray(positions, np.int64)
        given = np.ascontiguousarray(np.broadcast_to(weights, rows.shape), np.float64)
        self.library.set(self.address, len(rows), rows.ctypes.data, given.ctypes.data)

    def find(self, points: np.ndarray) -> np.ndarray:
        given = np.ascontiguousarray(points, np.float64)
        rows = np.empty(len(given), np.int64)
        found = self.library.find(self.address, len(rows), given.ctypes.data, rows.ctypes.data)
        if found < len(rows):
            raise IndexError("a weight is NaN")  # the numpy path raises IndexError too
        return rows
