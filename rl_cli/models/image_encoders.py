"""Encoders of images (B, C, H, W), as pure functions of named parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from rl_cli.core.errors import BadInput
from rl_cli.core.types import ObsPart, Params
from rl_cli.models.networks import ORTHOGONAL_HIDDEN_GAIN, orthogonal_layer

Sizes = tuple[int, ...] | None


class ImageEncoder(ABC):
    """Base of the encoders of images: values scaled to [0, 1], and named layers.

    Attributes:
        features: number of outputs.
        shapes: of the weights, in the order of the layers, whose parameters are `<name>.<i>.weight` and
            `<name>.<i>.bias`.

    Args:
        part: the image.
        name: of the parameters.

    """

    kind: ClassVar[str]  # value of algo.encoder

    def __init__(self, part: ObsPart, name: str) -> None:
        self.part, self.name, self.features = part, name, 0
        self.shapes: list[tuple[int, ...]] = []

    @property
    def size(self) -> int:
        """Number of parameters that `init` creates."""
        return sum(math.prod(shape) + shape[0] for shape in self.shapes)

    @property
    def description(self) -> str:
        """See `encoders.ObsEncoder`."""
        outputs = f" {self.features}" if self.shapes else ""
        name = self.part.name or "image"
        return f"{name} {shape_text(self.part.shape)} -> {self.kind}{outputs}"

    def init(self, generator: torch.Generator) -> Params:
        """Orthogonal weights with gain sqrt 2."""
        params: Params = {}
        for i, shape in enumerate(self.shapes):
            layer = orthogonal_layer(shape, ORTHOGONAL_HIDDEN_GAIN, generator)
            params[f"{self.name}.{i}.weight"], params[f"{self.name}.{i}.bias"] = layer
        return params

    @abstractmethod
    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, features)."""

    def scaled(self, obs: torch.Tensor) -> torch.Tensor:
        """Values as float32, mapped from the bounds of the image to [0, 1]. Any shape."""
        low, high = self.part.low, self.part.high
        x = obs.float()
        if low != 0.0:
            x = x - low
        return x if high - low == 1.0 else x / (high - low)

    def layer(self, params: Params, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of layer i."""
        return params[f"{self.name}.{i}.weight"], params[f"{self.name}.{i}.bias"]


class FlatImage(ImageEncoder):
    """No parameters: the features are the scaled values."""

    kind = "mlp"

    def __init__(self, part: ObsPart, name: str) -> None:
        super().__init__(part, name)
        self.features = math.prod(part.shape)

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        return self.scaled(obs).flatten(1)


class ConvEncoder(ImageEncoder):
    """Convolutions without padding, each followed by ReLU; then one fully connected layer with ReLU.

    Args:
        part: the image.
        name: of the parameters.
        channels: of each convolution; None: `CHANNELS`.
        width: outputs of the fully connected layer; None: `WIDTH`.

    Raises:
        BadInput: the image is too small, or the number of convolutions is not possible.

    """

    KERNELS: ClassVar[tuple[tuple[int, int], ...]]  # size, stride
    CHANNELS: ClassVar[tuple[int, ...]]
    WIDTH: ClassVar[int]

    def __init__(
        self, part: ObsPart, name: str, channels: Sizes = None, width: int | None = None
    ) -> None:
        super().__init__(part, name)
        filters = channels or self.CHANNELS
        self.kernels = self._kernels(len(filters))
        before, height, width_ = part.shape
        for out, (kernel, stride) in zip(filters, self.kernels, strict=True):
            self.shapes.append((out, before, kernel, kernel))
            height, width_ = (height - kernel) // stride + 1, (width_ - kernel) // stride + 1
            before = out
        if min(height, width_) < 1:
            self._refuse_size()
        self.features, self.flat = width or self.WIDTH, before * height * width_
        self.shapes.append((self.features, self.flat))

    def _kernels(self, count: int) -> tuple[tuple[int, int], ...]:
        if count != len(self.KERNELS):
            raise BadInput(
                f"{self.kind} has {len(self.KERNELS)} convolutions; {count} numbers of channels are given",
                f"algo.encoder={self.kind}",
                f"algo.encoder_channels=[{','.join(map(str, self.CHANNELS))}]",
            )
        return self.KERNELS

    def _refuse_size(self) -> None:
        _, height, width = self.part.shape
        fix = "env.resize=84"
        raise BadInput(
            f"images of {height} x {width} pixels are too small for {self.kind}",
            f"observations of {list(self.part.shape)}",
            fix if self.kind != "nature_cnn" else f"algo.encoder=auto, or {fix}",
        )

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, features)."""
        functional, x = torch.nn.functional, self.scaled(obs)
        for i, (_, stride) in enumerate(self.kernels):
            x = functional.conv2d(x, *self.layer(params, i), stride=stride).relu()
        return functional.linear(x.flatten(1), *self.layer(params, len(self.kernels))).relu()


class NatureCNN(ConvEncoder):
    """Encoder of Mnih et al. 2015, "Human-level control through deep reinforcement learning", Methods."""

    kind = "nature_cnn"
    KERNELS, CHANNELS, WIDTH = ((8, 4), (4, 2), (3, 1)), (32, 64, 64), 512
    SMALLEST = 36
    """Pixels per side that the convolutions reduce to one."""


class MinAtarCNN(ConvEncoder):
    """Encoder of small images: 3 x 3 filters (Young & Tian 2019, arXiv:1903.03176, section 3)."""

    kind = "minatar_cnn"
    KERNELS, CHANNELS, WIDTH = ((3, 1),), (16,), 128

    def _kernels(self, count: int) -> tuple[tuple[int, int], ...]:
        return self.KERNELS * count


class Impala(ImageEncoder):
    """Residual encoder of Espeholt et al. 2018 (arXiv:1802.01561), figure 3 (right), without the LSTM.

    Each stage: a 3 x 3 convolution, a maximum over 3 x 3 with stride 2, and two residual blocks of two
    convolutions. Then one fully connected layer. All convolutions keep the size.

    Args:
        part: the image.
        name: of the parameters.
        channels: of each stage; None: 16, 32, 32.
        width: outputs of the fully connected layer; None: 256.

    """

    kind = "impala"
    CHANNELS, WIDTH = (16, 32, 32), 256
    CONVOLUTIONS = 5
    """Of one stage."""

    def __init__(
        self, part: ObsPart, name: str, channels: Sizes = None, width: int | None = None
    ) -> None:
        super().__init__(part, name)
        self.stages = channels or self.CHANNELS
        before, height, wide = part.shape
        for out in self.stages:
            self.shapes.append((out, before, 3, 3))
            self.shapes += [(out, out, 3, 3)] * (self.CONVOLUTIONS - 1)
            before, height, wide = out, -(-height // 2), -(-wide // 2)
        self.features = width or self.WIDTH
        self.shapes.append((self.features, before * height * wide))

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, features)."""
        functional, x = torch.nn.functional, self.scaled(obs)
        for stage in range(len(self.stages)):
            x = self._convolved(params, stage * self.CONVOLUTIONS, x)
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
            for first in (1, 3):
                i = stage * self.CONVOLUTIONS + first
                inner = self._convolved(params, i, x.relu())
                x = x + self._convolved(params, i + 1, inner.relu())
        last = len(self.stages) * self.CONVOLUTIONS
        return functional.linear(x.relu().flatten(1), *self.layer(params, last)).relu()

    def _convolved(self, params: Params, i: int, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, *self.layer(params, i), padding=1)


def shape_text(shape: tuple[int, ...]) -> str:
    """(3, 64, 64) as `(3,64,64)`, (2,) as `(2,)`."""
    return f"({','.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
