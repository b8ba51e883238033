"""How the parts of an observation lie in one array.

An observation of several parts travels through envs, buffers and checkpoints as one row, which the network
splits again. A row is, in this order:

    vectors        float32
    float images   float32
    uint8 images   one byte per value

A row with uint8 images is an array of bytes, in which a float32 takes four: as float32 each pixel would
take four bytes, too, and a replay buffer four times the memory. It ends with up to three zero bytes, so
that rows are whole numbers of float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from rl_cli.core.types import EnvSpec, ObsPart


class ObsLayout:
    """Positions of parts in a row.

    Attributes:
        parts: in the order in which they lie in a row.
        vectors: number of float32 values of all vectors, which come first.
        floats: number of float32 values of all vectors and float images.
        size: length of a row; bytes if `dtype` is uint8.
        dtype: of a row.

    Args:
        parts: of the observation, in any order.

    """

    def __init__(self, parts: Sequence[ObsPart]) -> None:
        self.parts = tuple(sorted(parts, key=_rank))
        self.vectors = sum(math.prod(p.shape) for p in self.parts if not p.is_image)
        self.floats = sum(math.prod(p.shape) for p in self.parts if p.dtype == "float32")
        pixels = sum(math.prod(p.shape) for p in self.parts if p.dtype == "uint8")
        self.dtype: Literal["uint8", "float32"] = "uint8" if pixels else "float32"
        self.size = 4 * self.floats + -(-pixels // 4) * 4 if pixels else self.floats
        self.slices = []  # of the float32 values of a row, or of its bytes
        ends = {"float32": 0, "uint8": 4 * self.floats}
        for part in self.parts:
            start = ends[part.dtype]
            ends[part.dtype] = start + math.prod(part.shape)
            self.slices.append(slice(start, ends[part.dtype]))

    def as_floats(self, rows: np.ndarray) -> np.ndarray:
        """The float32 values of rows (..., size), a view (..., floats)."""
        values = rows.view(np.float32) if self.dtype == "uint8" else rows
        return values[..., : self.floats]

    def as_vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows (..., size), a view (..., vectors)."""
        return self.as_floats(rows)[..., : self.vectors]

    def pack(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """A row (size,) of the values of the parts, in the order of `parts`."""
        row = np.zeros(self.size, self.dtype)
        floats = row.view(np.float32) if self.dtype == "uint8" else row
        for part, where, value in zip(self.parts, self.slices, values, strict=True):
            (row if part.dtype == "uint8" else floats)[where] = value.reshape(-1)
        return row

    def name_of(self, index: int) -> str:
        """Name of the float32 value at `index`, such as `vel[1]`, for messages."""
        for part, where in zip(self.parts, self.slices, strict=True):
            if part.dtype == "float32" and where.start <= index < where.stop:
                return f"{part.name}[{index - where.start}]"
        return str(index)


def layout_of(spec: EnvSpec) -> ObsLayout | None:
    """The layout of rows with several parts, of which one at least is an image; None: other observations."""
    return ObsLayout(spec.parts) if len(spec.parts) > 1 and spec.has_images else None


def _rank(part: ObsPart) -> int:
    return 2 if part.dtype == "uint8" else int(part.is_image)
