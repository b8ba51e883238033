"""A rollout's rows in parts to learn from."""

from __future__ import annotations

import numpy as np
import torch


def minibatches(
    rows: int, size: int, rng: np.random.Generator, epochs: int = 1
) -> list[torch.Tensor]:
    """All rows once an epoch, shuffled, in parts as equal as can be of at most `size`.

    Returns:
        The parts in turn, those of one size that follow each other as one (K, B).

    """
    orders = [torch.from_numpy(rng.permutation(rows)) for _ in range(epochs)]
    if rows % (parts := -(-rows // size)) == 0:
        return [torch.stack(orders).view(epochs * parts, -1)]
    larger, split = rows % parts, rows % parts * (rows // parts + 1)
    pairs = [(order[:split], order[split:]) for order in orders]
    return [p for a, b in pairs for p in (a.view(larger, -1), b.view(parts - larger, -1))]


def filled_minibatches(rows: int, size: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """All rows, shuffled, in parts of `size`; the last is filled up with the first rows of all."""
    return list(
        torch.from_numpy(np.resize(rng.permutation(rows), -(-rows // size) * size)).split(size)
    )
