"""Networks as pure functions of named parameters: `net(params, x)`.

A network owns no weights. It says which tensors it needs (`init`) and how it maps an input with
them, so the same text runs on the online weights, the target weights or a stack of many seeds.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

from rl_cli.types import Arrays, Params

ORTHOGONAL_HIDDEN_GAIN = 2**0.5


class Encoder(Protocol):
    """Observations (B, *obs_shape) -> features (B, features)."""

    features: int

    def init(self, generator: torch.Generator) -> Params: ...

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor: ...


class Head(Protocol):
    """Features (B, features) -> (B, outputs), in torch and in numpy."""

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


class NoisyMLP(MLP):
    """An MLP whose every weight carries noise of a learned size (Fortunato et al. 2018).

    Factorised noise, eqs. 9 to 11 of arXiv:1706.10295: w = mu + sigma * (f(e_out) f(e_in)^T), and
    b = mu_b + sigma_b * f(e_out). The factors f(e) of a layer stand among the parameters, under the
    names of `noise_sizes`; where they are left out, the weights are their means.
    """

    SIGMA = 0.5  # sigma_0

    def __init__(
        self, name: str, inputs: int, hidden_sizes: tuple[int, ...], outputs: int, activation: str
    ) -> None:
        super().__init__(name, inputs, hidden_sizes, outputs, activation)
        kinds = ("weight_sigma", "bias_sigma", "noise_in", "noise_out")
        self.noisy = [
            tuple(f"{name}.{i}.{kind}" for kind in kinds) for i in range(len(self.layers))
        ]

    @property
    def noise_sizes(self) -> dict[str, int]:
        """Names of the factors and how many numbers each is."""
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
        linear, activation = torch.nn.functional.linear, torch.tanh if self.tanh else torch.relu
        for i, ((w, b), (w_sigma, b_sigma, e_in, e_out)) in enumerate(
            zip(self.layers, self.noisy, strict=True)
        ):
            y = linear(x, params[w], params[b])
            if e_in in params:  # (sigma * e_out e_in^T) x = e_out * (sigma (e_in * x))
                y = y + params[e_out] * linear(x * params[e_in], params[w_sigma], params[b_sigma])
            x = y if i == len(self.layers) - 1 else activation(y)
        return x

    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        for i, ((w, b), (w_sigma, b_sigma, e_in, e_out)) in enumerate(
            zip(self.layers, self.noisy, strict=True)
        ):
            y = x.dot(arrays[w].T) + arrays[b]
            if e_in in arrays:
                noise = (x * arrays[e_in]).dot(arrays[w_sigma].T) + arrays[b_sigma]
                y = y + arrays[e_out] * noise
            if i < len(self.layers) - 1:
                y = np.tanh(y) if self.tanh else np.maximum(y, 0.0)
            x = y
        return x


class Dueling:
    """Two streams, the value of the state and the advantages of its actions.

    Wang et al. 2016 (arXiv:1511.06581), eq. 9: Q = V + A - mean A. All hidden layers but the last
    are shared, the last is each stream's own.

    Args:
        actions, atoms: the output is (B, actions * atoms), for each atom as above.
        make: MLP or NoisyMLP.

    """

    def __init__(
        self,
        inputs: int,
        hidden_sizes: tuple[int, ...],
        actions: int,
        atoms: int,
        activation: str,
        make: type[MLP],
    ) -> None:
        self.actions, self.atoms, self.tanh = actions, atoms, activation == "tanh"
        shared, own = hidden_sizes[:-1], hidden_sizes[-1:]
        self.trunk = make("trunk", inputs, shared[:-1], shared[-1], activation) if shared else None
        features = shared[-1] if shared else inputs
        self.value = make("value", features, own, atoms, activation)
        self.advantage = make("advantage", features, own, actions * atoms, activation)
        self.parts = [part for part in (self.trunk, self.value, self.advantage) if part]

    @property
    def noise_sizes(self) -> dict[str, int]:
        """Of all parts together, as `NoisyMLP`'s."""
        return {name: size for part in self.parts for name, size in part.noise_sizes.items()}

    def init(self, generator: torch.Generator) -> Params:
        return {name: p for part in self.parts for name, p in part.init(generator).items()}

    def __call__(self, params: Params, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs) -> (B, actions * atoms)."""
        if self.trunk is not None:
            x = (torch.tanh if self.tanh else torch.relu)(self.trunk(params, x))
        advantage = self.advantage(params, x).view(-1, self.actions, self.atoms)
        centred = advantage - advantage.mean(1, keepdim=True)
        return (self.value(params, x).unsqueeze(1) + centred).flatten(1)

    def in_numpy(self, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        if self.trunk is not None:
            x = self.trunk.in_numpy(arrays, x)
            x = np.tanh(x) if self.tanh else np.maximum(x, 0.0)
        advantage = self.advantage.in_numpy(arrays, x).reshape(-1, self.actions, self.atoms)
        centred = advantage - advantage.mean(1, keepdims=True)
        value = self.value.in_numpy(arrays, x)
        return (value[:, None] + centred).reshape(len(x), -1)  # type: ignore[no-any-return]


class Identity:
    """Vector observations are their own features."""

    def __init__(self, obs_shape: tuple[int, ...]) -> None:
        (self.features,) = obs_shape

    def init(self, generator: torch.Generator) -> Params:
        return {}

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        return obs


class NatureCNN:
    """The convolutions of Mnih et al. 2015, on (B, C, H, W) bytes scaled to [0, 1]."""

    LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride
    WIDTH = 512

    def __init__(self, obs_shape: tuple[int, ...], name: str = "encoder") -> None:
        channels, height, width = obs_shape
        self.name, self.features, self.shapes = name, self.WIDTH, []
        for out, kernel, stride in self.LAYERS:
            self.shapes.append((out, channels, kernel, kernel))
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            channels = out
        self.flat = channels * height * width

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
