"""Networks as pure functions of named parameters: `net(params, x)`.

A network owns no weights. It says which tensors it needs (`init`) and how it maps an input with
them, so the same text runs on the online weights, the target weights or a stack of many seeds.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from rl_cli.core.errors import BadInput
from rl_cli.core.types import Arrays, Params

ORTHOGONAL_HIDDEN_GAIN = 2**0.5


class Encoder(Protocol):
    """Observations (B, *obs_shape) -> features (B, features)."""

    features: int

    @property
    def size(self) -> int:
        """Numbers that `init` makes, known before it does."""

    def init(self, generator: torch.Generator) -> Params: ...

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor: ...


class Head(Protocol):
    """Features (B, features) -> (B, outputs), in torch and in numpy."""

    @property
    def size(self) -> int:
        """As an encoder's."""

    @property
    def noise_sizes(self) -> dict[str, int]: ...

    def init(self, generator: torch.Generator) -> Params: ...

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor: ...

    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray: ...


class MLP:
    """Fully connected layers; the activation stands between them, not after the last."""

    def __init__(
        self, name: str, inputs: int, hidden_sizes: tuple[int, ...], outputs: int, activation: str
    ) -> None:
        self.sizes = (inputs, *hidden_sizes, outputs)
        self.layers = [
            (f"{name}.{i}.weight", f"{name}.{i}.bias") for i in range(len(hidden_sizes) + 1)
        ]
        self.tanh = activation == "tanh"

    @property
    def size(self) -> int:
        """Numbers that `init` makes: weights and biases."""
        return layers_size(self.sizes)

    @property
    def noise_sizes(self) -> dict[str, int]:
        """Nothing here is noisy."""
        return {}

    def init(self, generator: torch.Generator, output_gain: float | None = None) -> Params:
        """Fresh weights: with an `output_gain` orthogonal (hidden layers sqrt 2), else uniform."""
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
        """All layers but the last. (B, inputs) -> (B, F)."""
        return active_layers(self.layers[:-1], self.tanh, params, x)

    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        """The same for numpy's arrays: (B, inputs) -> (B, outputs)."""
        if len(x) == 1:
            return self._row_in_numpy(arrays, x[0])[None]
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = x.dot(arrays[w].T) + arrays[b]
            x = np.tanh(x) if self.tanh else np.maximum(x, 0.0)
        return x.dot(arrays[weight].T) + arrays[bias]  # type: ignore[no-any-return]

    def _row_in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        """One row, as products of a matrix and a vector. (inputs,) -> (outputs,)."""
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = arrays[w].dot(x)
            x += arrays[b]
            if self.tanh:
                np.tanh(x, out=x)
            else:
                np.maximum(x, 0.0, out=x)
        return arrays[weight].dot(x) + arrays[bias]  # type: ignore[no-any-return]


class LatentMLP(MLP):
    """The same, with what its last layer sees beside its output: (B, inputs) -> (B, outputs + F)."""

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        *_, (weight, bias) = self.layers
        x = self.hidden(params, x)
        return torch.cat([torch.nn.functional.linear(x, params[weight], params[bias]), x], -1)

    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        *hidden, (weight, bias) = self.layers
        for w, b in hidden:
            x = x.dot(arrays[w].T) + arrays[b]
            x = np.tanh(x) if self.tanh else np.maximum(x, 0.0)
        return np.concatenate([x.dot(arrays[weight].T) + arrays[bias], x], -1)


class Identity:
    """Vector observations are their own features."""

    def __init__(self, obs_shape: tuple[int, ...]) -> None:
        (self.features,) = obs_shape

    @property
    def size(self) -> int:
        """There are no parameters."""
        return 0

    def init(self, generator: torch.Generator) -> Params:
        return {}

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        return obs


class NatureCNN:
    """The convolutions of Mnih et al. 2015, on (B, C, H, W) bytes scaled to [0, 1]."""

    LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride
    WIDTH = 512
    SMALLEST = 36  # pixels of a side, of which the last layer leaves one

    def __init__(self, obs_shape: tuple[int, ...], name: str = "encoder") -> None:
        channels, height, width = obs_shape
        if min(height, width) < self.SMALLEST:
            raise BadInput(
                f"pictures of {height} x {width} are too small for convolutions",
                f"observations of {list(obs_shape)}",
                "env.resize=84",
            )
        self.name, self.features, self.shapes = name, self.WIDTH, []
        for out, kernel, stride in self.LAYERS:
            self.shapes.append((out, channels, kernel, kernel))
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            channels = out
        self.flat = channels * height * width

    @property
    def size(self) -> int:
        """Numbers that `init` makes."""
        convolutions = sum(math.prod(shape) + shape[0] for shape in self.shapes)
        return convolutions + layers_size((self.flat, self.WIDTH))

    def init(self, generator: torch.Generator) -> Params:
        params: Params = {}
        for i, shape in enumerate([*self.shapes, (self.WIDTH, self.flat)]):
            layer = orthogonal_layer(shape, ORTHOGONAL_HIDDEN_GAIN, generator)
            params[f"{self.name}.{i}.weight"], params[f"{self.name}.{i}.bias"] = layer
        return params

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        functional = torch.nn.functional
        x = obs.float() / 255.0
        for i, (_, _, stride) in enumerate(self.LAYERS):
            weight, bias = params[f"{self.name}.{i}.weight"], params[f"{self.name}.{i}.bias"]
            x = functional.conv2d(x, weight, bias, stride=stride).relu()
        last = len(self.LAYERS)
        weight, bias = params[f"{self.name}.{last}.weight"], params[f"{self.name}.{last}.bias"]
        return functional.linear(x.flatten(1), weight, bias).relu()


class Trunk:
    """Hidden layers that several heads share, behind an encoder; each head is one layer on top."""

    def __init__(self, encoder: Encoder, hidden_sizes: tuple[int, ...], activation: str) -> None:
        self.encoder, self.features = encoder, hidden_sizes[-1]
        self.sizes = (encoder.features, *hidden_sizes)
        self.layers = [(f"shared.{i}.weight", f"shared.{i}.bias") for i in range(len(hidden_sizes))]
        self.tanh = activation == "tanh"

    @property
    def size(self) -> int:
        """Numbers that `init` makes, the encoder's among them."""
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
        return active_layers(self.layers, self.tanh, params, self.encoder(params, obs))

    def before(self, head: MLP) -> MLP:
        """One MLP from the encoder's features to the head's output, of the same parameters."""
        whole = copy.copy(head)
        whole.layers, whole.sizes = self.layers + head.layers, self.sizes + head.sizes[1:]
        return whole


def layers_size(sizes: tuple[int, ...]) -> int:
    """Weights and biases of fully connected layers from each of these sizes to the next."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def active_layers(
    layers: list[tuple[str, str]], tanh: bool, params: Params, x: torch.Tensor
) -> torch.Tensor:
    """Layers by the names of their weights and biases, the activation after each."""
    linear, activation = torch.nn.functional.linear, torch.tanh if tanh else torch.relu
    for w, b in layers:
        x = activation(linear(x, params[w], params[b]))
    return x


def make_encoder(obs_shape: tuple[int, ...]) -> Encoder:
    """Nature's convolutions for (C, H, W) pixels, nothing for vectors."""
    return NatureCNN(obs_shape) if len(obs_shape) == 3 else Identity(obs_shape)


def uniform_layer(
    shape: tuple[int, ...], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases uniform in +-1/sqrt(fan-in), as torch's own layers begin."""
    bound = shape[1] ** -0.5
    weight = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return weight, torch.empty(shape[0]).uniform_(-bound, bound, generator=generator)


def orthogonal_layer(
    shape: tuple[int, ...], gain: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthogonal weights times gain (Saxe et al. 2014), biases zero."""
    weight = torch.nn.init.orthogonal_(torch.empty(shape), gain, generator=generator)
    return weight, torch.zeros(shape[0])
