"""Frames as envs render them, converted to what a video holds: (H, W, 3) uint8 of one even size."""

from __future__ import annotations

from typing import Any

import numpy as np


class VideoUnavailable(Exception):
    """The env cannot be recorded on this machine. The message is the reason, in one line."""


TOLERANCE = 1e-3
"""By how much floats may leave [0, 1] or [0, 255], for rounding."""


class FrameConverter:
    """Converts the frames of one video.

    Floats and bools in [0, 1] are scaled, gray frames are expanded, an alpha channel is dropped, channels
    may come first. Sides become even, which H.264 needs. The first frame sets the size; a frame of
    another size is scaled to fit.
    """

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None  # height and width, even
        self.scale: float | None = None  # of float frames; None: all of them were 0 so far
        self.visible = False  # whether any frame was not black

    def __call__(self, frame: Any) -> np.ndarray:
        """One frame. -> (H, W, 3) uint8, contiguous.

        Raises:
            VideoUnavailable: it is no image.

        """
        pixels = self._bytes(_three_channels(frame))
        self.visible = self.visible or bool(pixels.any())
        height, width = pixels.shape[:2]
        if self.size is None:
            self.size = height + height % 2, width + width % 2
        if (height, width) != self.size:
            pixels = _fitted(pixels, self.size)
        return np.ascontiguousarray(pixels)

    def _bytes(self, image: np.ndarray) -> np.ndarray:
        """Pixels as uint8."""
        if image.dtype == np.uint8:
            return image
        if image.dtype == bool:
            return image.astype(np.uint8) * 255
        low, high = float(image.min()), float(image.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise VideoUnavailable("the env renders frames with values that are not finite")
        if np.issubdtype(image.dtype, np.floating) and (high > 0.0 or self.scale is not None):
            self.scale = self.scale or (255.0 if high <= 1.0 + TOLERANCE else 1.0)
        scale = self.scale or 1.0
        if low < -TOLERANCE or high * scale > 255.0 * (1 + TOLERANCE):
            raise VideoUnavailable(
                f"the env renders {image.dtype} frames from {low:.4g} to {high:.4g}; a video takes "
                "0 to 255, or floats from 0 to 1"
            )
        return np.rint(np.clip(image * scale, 0, 255)).astype(np.uint8)


def _three_channels(frame: Any) -> np.ndarray:
    """(H, W, 3) of the frame's own type."""
    if frame is None:
        raise VideoUnavailable("render() of the env returned None instead of an image")
    try:
        image = np.asarray(frame)
    except Exception:  # a ragged list, or an object of another library
        image = np.empty(0, object)
    if image.dtype != bool and not np.issubdtype(image.dtype, np.number):
        raise VideoUnavailable(f"the env renders {type(frame).__name__}, not (H, W, 3) images")
    if np.iscomplexobj(image):
        raise VideoUnavailable("the env renders complex numbers, not (H, W, 3) images")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[2] not in (1, 3, 4) and image.shape[0] in (1, 3, 4):
        image = image.transpose(1, 2, 0)
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
        raise VideoUnavailable(f"the env renders arrays of shape {np.shape(frame)}, not (H, W, 3)")
    return image.repeat(3, axis=2) if image.shape[2] == 1 else image[..., :3]


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image scaled to fit `size`, with black margins; one row or column is repeated instead."""
    (height, width), (rows, columns) = image.shape[:2], size
    if 0 <= rows - height <= 1 and 0 <= columns - width <= 1:
        return np.pad(image, ((0, rows - height), (0, columns - width), (0, 0)), mode="edge")
    factor = min(rows / height, columns / width)
    new = max(1, min(rows, round(height * factor))), max(1, min(columns, round(width * factor)))
    picked = np.ix_(np.arange(new[0]) * height // new[0], np.arange(new[1]) * width // new[1])
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (rows - new[0]) // 2, (columns - new[1]) // 2
    canvas[top : top + new[0], left : left + new[1]] = image[picked]
    return canvas
