"""What follows a hidden layer, in torch and in NumPy."""

from __future__ import annotations

import numpy as np
import torch

EPSILON = 1e-5
"""Added to the variance in layer normalization, as in `torch.nn.LayerNorm`. Also in `engine/forward.c` and `export/page/policy.js`."""


class Activation:
    """tanh or ReLU, of normalized inputs if `layer_norm`.

    Layer normalization (Ba et al. 2016, arXiv:1607.06450, eq. 3) without gain and bias: the next layer has
    weights of its own.

    Args:
        name: tanh or relu.
        layer_norm: subtract the mean of each row and divide it by its standard deviation first.

    """

    def __init__(self, name: str, layer_norm: bool = False) -> None:
        self.tanh, self.layer_norm = name == "tanh", layer_norm

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(..., F) -> (..., F)."""
        if self.layer_norm:
            centered = x - x.mean(-1, keepdim=True)
            x = centered * torch.rsqrt(centered.square().mean(-1, keepdim=True) + EPSILON)
        return torch.tanh(x) if self.tanh else torch.relu(x)

    def in_numpy(self, x: np.ndarray) -> np.ndarray:
        """The same in NumPy, written over `x`."""
        if self.layer_norm:
            x -= x.mean(-1, keepdims=True)
            x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(EPSILON))
        return np.tanh(x, out=x) if self.tanh else np.maximum(x, 0.0, out=x)  # type: ignore[no-any-return]
