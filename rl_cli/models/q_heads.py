"""Heads of Q-networks: noisy layers and dueling streams."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from rl_cli.core.products import without_false_warnings
from rl_cli.core.types import Arrays, Params
from rl_cli.models.activation import Activation
from rl_cli.models.networks import MLP


class NoisyMLP(MLP):
    """MLP of noisy linear layers (Fortunato et al. 2018).

    Factorized noise, eqs. 9 to 11 of arXiv:1706.10295: w = mu + sigma * (f(e_out) f(e_in)^T), and
    b = mu_b + sigma_b * f(e_out). The factors f(e) of a layer are passed among the parameters, under
    the names of `noise_sizes`; without them the layers use the mean weights.
    """

    SIGMA = 0.5  # sigma_0
    KINDS = ("weight_sigma", "bias_sigma", "noise_in", "noise_out")

    @cached_property
    def noisy(self) -> list[tuple[str, ...]]:
        """Names of the scales and the noise factors of each layer."""
        layers = [weight.removesuffix("weight") for weight, _ in self.layers]
        return [tuple(f"{layer}{kind}" for kind in self.KINDS) for layer in layers]

    @property
    def size(self) -> int:
        """Number of parameters: every weight and bias has a mean mu and a scale sigma."""
        return 2 * super().size

    @property
    def noise_sizes(self) -> dict[str, int]:
        """Number of noise factors by name."""
        ends = zip(self.noisy, self.sizes, self.sizes[1:], strict=False)
        return {
            name: size
            for (_, _, e_in, e_out), inputs, outputs in ends
            for name, size in ((e_in, inputs), (e_out, outputs))
        }

    def init(self, generator: torch.Generator, output_gain: float | None = None) -> Params:
        params = super().init(generator, output_gain)
        for (weight, bias), (weight_sigma, bias_sigma, *_) in zip(
            self.layers, self.noisy, strict=True
        ):
            size = self.SIGMA * params[weight].shape[1] ** -0.5
            params[weight_sigma] = torch.full_like(params[weight], size)
            params[bias_sigma] = torch.full_like(params[bias], size)
        return params

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        linear = torch.nn.functional.linear
        for i, ((w, b), (w_sigma, b_sigma, e_in, e_out)) in enumerate(
            zip(self.layers, self.noisy, strict=True)
        ):
            y = linear(x, params[w], params[b])
            if e_in in params:  # (sigma * e_out e_in^T) x = e_out * (sigma (e_in * x))
                y = y + params[e_out] * linear(x * params[e_in], params[w_sigma], params[b_sigma])
            x = y if i == len(self.layers) - 1 else self.activation(y)
        return x

    @without_false_warnings
    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        for i, ((w, b), (w_sigma, b_sigma, e_in, e_out)) in enumerate(
            zip(self.layers, self.noisy, strict=True)
        ):
            y = x.dot(arrays[w].T) + arrays[b]
            if e_in in arrays:
                noise = (x * arrays[e_in]).dot(arrays[w_sigma].T) + arrays[b_sigma]
                y = y + arrays[e_out] * noise
            if i < len(self.layers) - 1:
                y = self.activation.in_numpy(y)
            x = y
        return x


class Dueling:
    """Value and advantage streams (dueling network).

    Wang et al. 2016 (arXiv:1511.06581), eq. 9: Q = V + A - mean A. The streams share all hidden
    layers but the last.

    Args:
        actions, atoms: the output is (B, actions * atoms); eq. 9 applies to each atom.
        make: class of the streams, MLP or NoisyMLP.

    """

    def __init__(
        self,
        inputs: int,
        hidden_sizes: tuple[int, ...],
        actions: int,
        atoms: int,
        activation: str,
        make: type[MLP],
        layer_norm: bool = False,
    ) -> None:
        self.actions, self.atoms = actions, atoms
        self.activation = Activation(activation, layer_norm)
        shared, own, kind = hidden_sizes[:-1], hidden_sizes[-1:], (activation, layer_norm)
        self.trunk = make("trunk", inputs, shared[:-1], shared[-1], *kind) if shared else None
        features = shared[-1] if shared else inputs
        self.value = make("value", features, own, atoms, *kind)
        self.advantage = make("advantage", features, own, actions * atoms, *kind)
        self.parts = [part for part in (self.trunk, self.value, self.advantage) if part]

    @property
    def size(self) -> int:
        """Number of parameters that `init` creates."""
        return sum(part.size for part in self.parts)

    @property
    def noise_sizes(self) -> dict[str, int]:
        """Number of noise factors by name, of all parts."""
        return {name: size for part in self.parts for name, size in part.noise_sizes.items()}

    def init(self, generator: torch.Generator) -> Params:
        return {name: p for part in self.parts for name, p in part.init(generator).items()}

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs) -> (B, actions * atoms)."""
        if self.trunk is not None:
            x = self.activation(self.trunk(params, x))
        advantage = self.advantage(params, x).view(-1, self.actions, self.atoms)
        centered = advantage - advantage.mean(1, keepdim=True)
        return (self.value(params, x).unsqueeze(1) + centered).flatten(1)

    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        if self.trunk is not None:
            x = self.activation.in_numpy(self.trunk.in_numpy(arrays, x))
        advantage = self.advantage.in_numpy(arrays, x).reshape(-1, self.actions, self.atoms)
        centered = advantage - advantage.mean(1, keepdims=True)
        value = self.value.in_numpy(arrays, x)
        return (value[:, None] + centered).reshape(len(x), -1)  # type: ignore[no-any-return]
