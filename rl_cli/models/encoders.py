"""The encoder of an observation: of a vector, of an image, or of several parts."""

from __future__ import annotations

import re
from typing import Protocol

import torch

from rl_cli.config.algorithm import AUTO, EncoderChoice
from rl_cli.core.errors import BadInput
from rl_cli.core.obs_layout import ObsLayout, layout_of
from rl_cli.core.types import EnvSpec, ObsPart, Params
from rl_cli.models.image_encoders import (
    FlatImage,
    ImageEncoder,
    Impala,
    MinAtarCNN,
    NatureCNN,
    shape_text,
)
from rl_cli.models.networks import Encoder, Identity

CONVOLUTIONAL: dict[str, type[NatureCNN | MinAtarCNN | Impala]] = {
    kind.kind: kind for kind in (NatureCNN, MinAtarCNN, Impala)
}


class ObsEncoder(Encoder, Protocol):
    """An encoder of whole observations."""

    @property
    def description(self) -> str:
        """The parts of the observation and what encodes each: `image (3,64,64) -> nature_cnn 512`."""


class MultiInput:
    """Encoder of observations of several parts: an encoder for each image, joined with the vectors.

    Args:
        layout: where the parts are in a row.
        encoders: of the images, in the order of the layout.

    """

    def __init__(self, layout: ObsLayout, encoders: list[ImageEncoder]) -> None:
        self.layout, self.encoders = layout, encoders
        self.features = layout.vectors + sum(encoder.features for encoder in encoders)
        self.size = sum(encoder.size for encoder in encoders)
        vectors = [part for part in layout.parts if not part.is_image]
        described = [*(e.description for e in encoders), *map(_vector, vectors)]
        self.description = "; ".join(described)

    def init(self, generator: torch.Generator) -> Params:
        return {k: v for each in self.encoders for k, v in each.init(generator).items()}

    def __call__(self, params: Params, obs: torch.Tensor) -> torch.Tensor:
        """(B, size) -> (B, features): the vectors, then the features of each image."""
        layout = self.layout
        floats = obs.view(torch.float32) if layout.dtype == "uint8" else obs
        features = [floats[:, : layout.vectors]]
        images = [
            pair for pair in zip(layout.parts, layout.slices, strict=True) if pair[0].is_image
        ]
        for encoder, (part, where) in zip(self.encoders, images, strict=True):
            source = obs if part.dtype == "uint8" else floats
            features.append(encoder(params, source[:, where].reshape(-1, *part.shape)))
        return torch.cat(features, -1)


def make_encoder(spec: EnvSpec, choice: EncoderChoice = AUTO) -> ObsEncoder:
    """`Identity` for vectors, an `ImageEncoder` for an image, `MultiInput` for several parts.

    Raises:
        BadInput: an image is too small for the chosen encoder, or there is no image for it.

    """
    images = [part for part in spec.obs_parts if part.is_image]
    if not images:
        if choice.kind in CONVOLUTIONAL:
            raise BadInput(
                f"{choice.kind} encodes images, and the observations of this env have none",
                f"algo.encoder={choice.kind}",
                "algo.encoder=auto",
            )
        return Identity(spec.obs_shape, "; ".join(map(_vector, spec.obs_parts)))
    layout = layout_of(spec)
    if layout is None:
        return _image_encoder(images[0], "encoder", choice)
    ordered = [part for part in layout.parts if part.is_image]
    names = [f"encoder.{name}" for name in _parameter_names(ordered)]
    pairs = zip(ordered, names, strict=True)
    return MultiInput(layout, [_image_encoder(part, name, choice) for part, name in pairs])


def _image_encoder(part: ObsPart, name: str, choice: EncoderChoice) -> ImageEncoder:
    kind = choice.kind
    if kind == "auto":
        large = min(part.shape[1:]) >= NatureCNN.SMALLEST
        kind = "nature_cnn" if large else "minatar_cnn"
    if kind == "mlp":
        return FlatImage(part, name)
    return CONVOLUTIONAL[kind](part, name, choice.channels, choice.width)


def _vector(part: ObsPart) -> str:
    return f"{part.name or 'vector'} {shape_text(part.shape)} -> mlp"


def _parameter_names(parts: list[ObsPart]) -> list[str]:
    """Names of parts as letters, digits and underscores, all different."""
    names = [re.sub(r"[^A-Za-z0-9_]", "_", part.name) for part in parts]
    return [n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names)]
