"""Networks as pure functions of named parameters: `net(params, x)`.

A network owns no weights: `init` creates the named parameters and `__call__` uses the ones it receives,
so the same network runs with the online weights and with the target weights.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from rl_cli.core.products import without_false_warnings
from rl_cli.core.types import Arrays, Params
from rl_cli.models.activation import Activation

ORTHOGONAL_HIDDEN_GAIN = 2**0.5


class Encoder(Protocol):
    """Maps observations (B, *obs_shape) to features (B, features)."""

    features: int

    @property
    def size(self) -> int:
        """Number of parameters that `init` creates, known without calling it."""

    def init(self, generator: torch.Generator) -> Params: ...

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor: ...


class Head(Protocol):
    """Maps features (B, features) to outputs (B, outputs), in torch and in NumPy."""

    @property
    def size(self) -> int:
        """Number of parameters that `init` creates, known without calling it."""

    @property
    def noise_sizes(self) -> dict[str, int]: ...

    def init(self, generator: torch.Generator) -> Params: ...

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor: ...

    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray: ...


class MLP:
    """Fully connected layers with an activation between them; the last layer is linear."""

    def __init__(
        self,
        name: str,
        inputs: int,
        hidden_sizes: tuple[int, ...],
        outputs: int,
        activation: str,
        layer_norm: bool = False,
    ) -> None:
        self.sizes = (inputs, *hidden_sizes, outputs)
        self.layers = [
            (f"{name}.{i}.weight", f"{name}.{i}.bias") for i in range(len(hidden_sizes) + 1)
        ]
        self.activation = Activation(activation, layer_norm)

    @property
    def size(self) -> int:
        """Number of weights and biases."""
        return layers_size(self.sizes)

    @property
    def noise_sizes(self) -> dict[str, int]:
        """Empty: a plain MLP has no noisy layers."""
        return {}

    def init(self, generator: torch.Generator, output_gain: float | None = None) -> Params:
        """Initial weights.

        Orthogonal with gain sqrt 2 (hidden layers) and `output_gain` (last layer); with
        `output_gain=None` uniform (see `uniform_layer`).
        """
        params: Params = {}
        for i, (weight, bias) in enumerate(self.layers):
            shape = (self.sizes[i + 1], self.sizes[i])
            last = i == len(self.layers) - 1
            if output_gain is None:
                params[weight], params[bias] = uniform_layer(shape, generator)
            else:
                gain = output_gain if last else ORTHOGONAL_HIDDEN_GAIN
                params[weight], params[bias] = orthogonal_layer(shape, gain, generator)
        return params

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs) -> (B, outputs)."""
        *_, (weight, bias) = self.layers
        return torch.nn.functional.linear(self.hidden(params, x), params[weight], params[bias])

    def hidden(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        """Activations of the last hidden layer. (B, inputs) -> (B, F)."""
        return active_layers(self.layers[:-1], self.activation, params, x)

    @without_false_warnings
    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        """Forward pass in NumPy. (B, inputs) -> (B, outputs)."""
        if len(x) == 1:
            return self._row_in_numpy(arrays, x[0])[None]
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = self.activation.in_numpy(x.dot(arrays[w].T) + arrays[b])
        return x.dot(arrays[weight].T) + arrays[bias]  # type: ignore[no-any-return]

    def _row_in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        """Forward pass of one row, as matrix-vector products. (inputs,) -> (outputs,)."""
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = arrays[w].dot(x)
            x += arrays[b]
            x = self.activation.in_numpy(x)
        return arrays[weight].dot(x) + arrays[bias]  # type: ignore[no-any-return]


class LatentMLP(MLP):
    """MLP that appends its last hidden activations to the output. (B, inputs) -> (B, outputs + F)."""

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        *_, (weight, bias) = self.layers
        x = self.hidden(params, x)
        return torch.cat([torch.nn.functional.linear(x, params[weight], params[bias]), x], -1)

    @without_false_warnings
    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = self.activation.in_numpy(x.dot(arrays[w].T) + arrays[b])
        return np.concatenate([x.dot(arrays[weight].T) + arrays[bias], x], -1)


class Identity:
    """Encoder of vector observations: the features are the observation.

    Args:
        obs_shape: (D,).
        description: see `encoders.ObsEncoder`.

    """

    def __init__(self, obs_shape: tuple[int, ...], description: str = "") -> None:
        (self.features,) = obs_shape
        self.description = description

    @property
    def size(self) -> int:
        """0: there are no parameters."""
        return 0

    def init(self, generator: torch.Generator) -> Params:
        return {}

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        return obs


class Trunk:
    """Hidden layers, after an encoder, that several heads share; each head is one linear layer."""

    def __init__(self, encoder: Encoder, hidden_sizes: tuple[int, ...], activation: str) -> None:
        self.encoder, self.features = encoder, hidden_sizes[-1]
        self.sizes = (encoder.features, *hidden_sizes)
        self.layers = [(f"shared.{i}.weight", f"shared.{i}.bias") for i in range(len(hidden_sizes))]
        self.activation = Activation(activation)

    @property
    def size(self) -> int:
        """Number of parameters that `init` creates, including those of the encoder."""
        return self.encoder.size + layers_size(self.sizes)

    def init(self, generator: torch.Generator) -> Params:
        params = self.encoder.init(generator)
        for (weight, bias), (inputs, outputs) in zip(
            self.layers, pairwise(self.sizes), strict=True
        ):
            layer = orthogonal_layer((outputs, inputs), ORTHOGONAL_HIDDEN_GAIN, generator)
            params[weight], params[bias] = layer
        return params

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        return active_layers(self.layers, self.activation, params, self.encoder(params, obs))

    def with_head(self, head: MLP) -> MLP:
        """Trunk and head as one MLP on the encoder's features, with the same parameter names."""
        joined = copy.copy(head)
        joined.layers, joined.sizes = self.layers + head.layers, self.sizes + head.sizes[1:]
        return joined


def layers_size(sizes: tuple[int, ...]) -> int:
    """Number of weights and biases of fully connected layers of these sizes."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def active_layers(
    layers: list[tuple[str, str]], activation: Activation, params: Params, x: torch.Tensor
) -> torch.Tensor:
    """Fully connected layers (names of weight and bias), each followed by an activation."""
    for w, b in layers:
        x = activation(torch.nn.functional.linear(x, params[w], params[b]))
    return x


def uniform_layer(
    shape: tuple[int, ...], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases uniform in +-1/sqrt(fan-in), the default of `torch.nn.Linear`."""
    bound = shape[1] ** -0.5
    weight = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return weight, torch.empty(shape[0]).uniform_(-bound, bound, generator=generator)


def orthogonal_layer(
    shape: tuple[int, ...], gain: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthogonal weights times gain (Saxe et al. 2014), biases zero."""
    weight = torch.nn.init.orthogonal_(torch.empty(shape), gain, generator=generator)
    return weight, torch.zeros(shape[0])
