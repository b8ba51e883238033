"""Faster frames of gymnasium's CarRacing, bit-identical: only what is visible is drawn, only when it is read.

A step of CarRacing is a tenth of a millisecond of physics and six of drawing, most of them spent on
polygons outside the frame.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from gymnasium.envs.box2d import car_racing

from rl_cli.envs.wrappers import DrawsOnRequest

MARGIN = 2.0
"""Pixels around the frame. Positions are computed in another order than gymnasium's, so rounded otherwise."""

Polygon = list[tuple[float, float]]


class CarRacing(DrawsOnRequest, car_racing.CarRacing):
    """gymnasium's CarRacing. Arguments: as there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # a copy is made with positional arguments
        self._draws, self._score = True, 0.0

    @contextlib.contextmanager
    def without_frames(self) -> Iterator[None]:
        self._draws = False
        try:
            yield
        finally:
            self._draws = True

    def frame(self) -> np.ndarray:
        """(96, 96, 3) uint8; see `DrawsOnRequest`."""
        after, self.reward = self.reward, self._score
        try:
            self.state = super()._render("state_pixels")
        finally:
            self.reward = after
        frame: np.ndarray = self.state
        return frame

    def _render(self, mode: str) -> Any:
        if mode != "state_pixels" or self._draws:
            return super()._render(mode)
        self._score = self.reward  # a frame shows the score before the cost of the step
        return self.state

    def _create_track(self) -> bool:
        if not cast(Any, super())._create_track():
            return False
        road = [([(x, y) for x, y in polygon], color) for polygon, color in self.road_poly]
        # the colors stay those of the tiles, which change when the car is on them
        self._polygons = [(square, self.grass_color) for square in _grass()] + road
        corners = np.array([polygon for polygon, _ in self._polygons], np.float64)
        self._x, self._y = corners[..., 0], corners[..., 1]
        return True

    def _render_road(self, zoom: float, translation: tuple[float, float], angle: float) -> None:
        end = car_racing.PLAYFIELD
        field = [(end, end), (end, -end), (-end, -end), (-end, end)]
        place, draw = (zoom, translation, angle), cast(Any, self._draw_colored_polygon)
        draw(self.surf, field, self.bg_color, *place, clip=False)
        for i in np.flatnonzero(self._visible(*place)).tolist():
            polygon, color = self._polygons[i]
            draw(self.surf, polygon, [int(c) for c in color], *place)

    def _visible(self, zoom: float, translation: tuple[float, float], angle: float) -> np.ndarray:
        """(polygons,) bool: whether the box around the corners of a polygon is within the frame."""
        sin, cos = np.sin(angle) * zoom, np.cos(angle) * zoom
        x = cos * self._x - sin * self._y + translation[0]
        y = sin * self._x + cos * self._y + translation[1]
        within_x = (x.max(1) >= -MARGIN) & (x.min(1) <= car_racing.WINDOW_W + MARGIN)
        within: np.ndarray = (
            within_x & (y.max(1) >= -MARGIN) & (y.min(1) <= car_racing.WINDOW_H + MARGIN)
        )
        return within


def _grass() -> list[Polygon]:
    """The squares of grass, in gymnasium's order."""
    side, numbers = car_racing.GRASS_DIM, range(-20, 20, 2)
    return [
        [
            (side * x + side, side * y),
            (side * x, side * y),
            (side * x, side * y + side),
            (side * x + side, side * y + side),
        ]
        for x in numbers
        for y in numbers
    ]
