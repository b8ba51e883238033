"""MinAtar games (Young & Tian 2019, arXiv:1903.03176) as envs of gymnasium: `MinAtar/Breakout-v1`.

The games come from the package minatar (extra `minatar`). Its own wrapper does not draw from the generator
of `reset(seed=...)` and keeps the last action over a reset, so that an episode would not follow from its
seed and actions alone.
"""

from __future__ import annotations

import colorsys
import importlib.util
import logging
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

GAMES = {
    "Asterix": "asterix",
    "Breakout": "breakout",
    "Freeway": "freeway",
    "Seaquest": "seaquest",
    "SpaceInvaders": "space_invaders",
}
"""Name in the id -> name in the package."""

SCALE = 16
"""Width of a cell of the 10x10 board in rendered frames, in pixels."""


def register() -> None:
    """Register `MinAtar/<game>-v1`, if the package is installed and has not registered them."""
    if importlib.util.find_spec("minatar") is None:
        return
    for name, game in GAMES.items():
        if f"MinAtar/{name}-v1" not in gym.registry:
            gym.register(f"MinAtar/{name}-v1", f"{__name__}:MinAtar", kwargs={"game": game})


class MinAtar(gym.Env[np.ndarray, np.int64]):
    """One game. An observation is an image (10, 10, C) of 0 and 1, one channel per kind of object.

    Args:
        game: name of the game in the package.
        render_mode: "rgb_array", or None.
        sticky_action_prob: probability that the previous action is repeated.
        difficulty_ramping: whether the game becomes faster.
        minimal_actions: only actions that have an effect in the game; False: all six.

    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        game: str,
        render_mode: str | None = None,
        sticky_action_prob: float = 0.1,
        difficulty_ramping: bool = True,
        minimal_actions: bool = True,
    ) -> None:
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)  # the package warns that it cannot show windows
        try:
            import minatar  # type: ignore[import-not-found,import-untyped,unused-ignore]
        finally:
            logging.disable(level)
        self.game = minatar.Environment(game, sticky_action_prob, difficulty_ramping)
        self.render_mode = render_mode
        actions = self.game.minimal_action_set() if minimal_actions else range(6)
        self.actions = [int(action) for action in actions]
        self.action_space = spaces.Discrete(len(self.actions))
        self.observation_space = spaces.Box(0, 1, tuple(self.game.state_shape()), np.uint8)
        count = self.game.n_channels
        hues = [colorsys.hsv_to_rgb(i / count, 0.6, 1.0) for i in range(count)]
        self.colors = np.array([(0.0, 0.0, 0.0), *hues])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.game.seed(int(self.np_random.integers(2**31)))
        self.game.last_action = 0
        self.game.reset()
        return self._state(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward, over = self.game.act(self.actions[action])
        return self._state(), float(reward), bool(over), False, {}

    def _state(self) -> np.ndarray:
        return np.asarray(self.game.state(), np.uint8)

    def render(self) -> Any:
        if self.render_mode != "rgb_array":
            return None
        state = self._state()
        top = (state * np.arange(1, state.shape[-1] + 1)).max(-1)  # the last kind covers the others
        image = (255 * self.colors[top]).astype(np.uint8)
        return image.repeat(SCALE, 0).repeat(SCALE, 1)
