"""Which observations are images, and how they become (C, H, W)."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.config.env import EnvConfig

SMALLEST = 7
"""Pixels per side from which an array is an image; MiniGrid's view has 7."""

LARGE = 36
"""Pixels per side from which earlier versions took uint8 arrays for images."""

WIDEST = 1e6
"""Largest range of declared bounds that counts as information about the values."""

LUMINANCE = np.array([0.2125, 0.7154, 0.0721])
"""Weights of red, green and blue (ITU-R BT.709), as in gymnasium's GrayscaleObservation."""

Axes = Literal["HW", "HWC", "CHW", "KHWC", "KCHW"]
"""Order of the axes: height, width, channels, and K frames that the env stacks itself."""


class ImageForm:
    """How one image of an env is read.

    Attributes:
        shape: (C, H, W) of what `read` returns.
        dtype: of it.
        low, high: the values that the network maps to 0 and 1.

    Args:
        box: the space of the image.
        axes: the order of its axes.
        cfg: `grayscale` and `resize`.

    """

    def __init__(self, box: spaces.Box | spaces.MultiBinary, axes: Axes, cfg: EnvConfig) -> None:
        self.low, self.high, self.dtype = _values(box)
        if cfg.resize is not None and box.dtype != np.uint8:
            self.dtype = "float32"  # the mean of an area is no whole number
        self.axes, self.resize = axes, cfg.resize
        shape = dict(zip(axes, box.shape, strict=True))
        self.gray = cfg.grayscale and shape.get("C") == 3
        channels = shape.get("K", 1) * (1 if self.gray else shape.get("C", 1))
        size = (shape["H"], shape["W"]) if cfg.resize is None else (cfg.resize, cfg.resize)
        self.shape = (channels, *size)

    def read(self, obs: Any) -> np.ndarray:
        """An image of the env as a new array (C, H, W)."""
        found = np.asarray(obs)
        if self.axes[0] == "K":
            return np.concatenate([self._one(frame, self.axes[1:]) for frame in found])
        return self._one(found, self.axes)

    def _one(self, image: np.ndarray, axes: str) -> np.ndarray:
        if axes == "CHW" and (self.gray or self.resize is not None):
            image, axes = image.transpose(1, 2, 0), "HWC"
        if self.gray:
            image, axes = _gray(image), "HW"
        if self.resize is not None:
            image = _resized(image, self.resize)
            axes = "HW" if image.ndim == 2 else "HWC"
        if axes == "HW":
            image = image[None]
        elif axes == "HWC":
            image = image.transpose(2, 0, 1)
        return np.array(image, self.dtype, order="C")


def _gray(image: np.ndarray) -> np.ndarray:
    gray: np.ndarray = np.sum(np.multiply(image, LUMINANCE), axis=-1)
    return gray.astype(image.dtype) if image.dtype.kind in "fu" else gray


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    """(H, W) or (H, W, C) -> (side, side) or (side, side, C), by the means of areas."""
    import cv2  # takes a tenth of a second

    known = image.dtype in (np.uint8, np.float32)
    pixels = np.ascontiguousarray(image if known else image.astype(np.float32))
    found: np.ndarray = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return found


def image_form(space: gym.Space[Any], cfg: EnvConfig, alone: bool) -> ImageForm | None:
    """How the images of a space are read; None: they are no images.

    Args:
        space: of the observation or of a part of it.
        cfg: of the env.
        alone: the image is the whole observation.

    """
    if not isinstance(space, spaces.Box | spaces.MultiBinary):
        return None
    axes = _axes_of_large(space, cfg) if cfg.flatten else _axes(space, cfg)
    if cfg.flatten and not alone:
        return None
    return None if axes is None else ImageForm(space, axes, cfg)


def _axes_of_large(space: gym.Space[Any], cfg: EnvConfig) -> Axes | None:
    """The order of the axes of what earlier versions took for an image."""
    shape = space.shape or ()
    if space.dtype != np.uint8 or len(shape) not in (2, 3):
        return None
    if cfg.channels_first and len(shape) == 3 and shape[0] <= 4 and min(shape[1:]) >= LARGE:
        return "CHW"
    if min(shape[:2]) < LARGE:
        return None
    return "HW" if len(shape) == 2 else "HWC"


def _axes(space: spaces.Box | spaces.MultiBinary, cfg: EnvConfig) -> Axes | None:
    """The order of the axes of an image, guessed from its shape and values."""
    shape = space.shape
    if len(shape) == 2:
        return "HW" if min(shape) >= SMALLEST and _has_values_of_pixels(space) else None
    if len(shape) == 3:
        return _axes_of_three(shape, cfg.channels_first)
    if len(shape) == 4:
        inner = _axes_of_three(shape[1:], cfg.channels_first)
        return None if inner is None else ("KHWC" if inner == "HWC" else "KCHW")
    return None


def _axes_of_three(shape: tuple[int, ...], channels_first: bool) -> Literal["HWC", "CHW"] | None:
    """Channels last or first: the two equal sides are height and width, else the shortest is channels."""
    a, b, c = shape
    last, first = min(a, b) >= SMALLEST, min(b, c) >= SMALLEST and channels_first
    if last and first:
        prefers_first = b == c != a or (a != b and a < c)
        return "CHW" if prefers_first else "HWC"
    return "HWC" if last else "CHW" if first else None


def _has_values_of_pixels(space: spaces.Box | spaces.MultiBinary) -> bool:
    """Whether a table of two axes may be a picture: small whole numbers, or the range of pixels."""
    if isinstance(space, spaces.MultiBinary) or space.dtype in (np.uint8, np.bool_):
        return True
    low, high = _bounds(space)
    return low == 0 and high in (1, 255)


def _values(
    box: spaces.Box | spaces.MultiBinary,
) -> tuple[float, float, Literal["uint8", "float32"]]:
    """Lowest and highest value of an image, 0 and 1 if it has no bounds, and the dtype that holds them."""
    low, high = _bounds(box)
    whole = box.dtype is not None and box.dtype.kind in "biu"
    if whole and low >= 0 and high <= 255:
        return low, high, "uint8"
    if high - low <= WIDEST:
        return low, high, "float32"
    return 0.0, 1.0, "float32"


def _bounds(box: spaces.Box | spaces.MultiBinary) -> tuple[float, float]:
    """The bounds of all values; equal ones count as those of the dtype."""
    if isinstance(box, spaces.MultiBinary) or box.dtype == np.bool_:
        return 0.0, 1.0
    low, high = float(box.low.min()), float(box.high.max())
    return (low, high) if low < high else (0.0, 255.0 if box.dtype == np.uint8 else 1.0)
