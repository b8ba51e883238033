"""A faster step of gymnasium's LunarLander with bit-identical results.

The Box2D world, its bodies, the reset and contact detection are gymnasium's (Box2D takes most of the
time of a step). Engines, observation and reward are reimplemented: the same operations in the same
order on Python floats instead of numpy arrays, with each Box2D property, a call that creates an
object, read once.
"""

from __future__ import annotations

import math
from typing import Any

from rl_cli.core.types import EnvStep

NO_INFO: dict[str, Any] = {}

HALF_WIDTH, HALF_HEIGHT = 10.0, 400 / 30.0 / 2  # of the viewport, in Box2D units

FPS = 50

MAIN_HEIGHT, SIDE_AWAY, SIDE_HEIGHT = 4 / 30.0, 12, 14

MAIN_POWER, SIDE_POWER = 13.0, 0.6

LEG_DOWN = 18 / 30.0


class LunarLander:
    """Wraps a LunarLander made by gymnasium without a renderer.

    Args:
        env: with discrete or continuous actions, with or without wind.

    """

    def __init__(self, env: Any) -> None:
        self.unwrapped = env
        self.engines = self._continuous if env.continuous else self._discrete

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset as gymnasium does, which takes one step with the engines off."""
        env = self.unwrapped
        obs, info = env.reset(seed=seed)
        self.world_step, self.body, self.legs = env.world.Step, env.lander, env.legs
        self.push, self.random = env.lander.ApplyLinearImpulse, env.np_random.random
        self.angle, self.shaping = float(env.lander.angle), float(env.prev_shaping)
        position = env.lander.position
        self.x, self.y = position.x, position.y
        self.ground = env.helipad_y + LEG_DOWN
        if env.enable_wind:
            env.wind_idx, env.torque_idx = int(env.wind_idx), int(env.torque_idx)
        return obs, info

    def close(self) -> None:
        self.unwrapped.close()

    def step(self, action: Any, /) -> EnvStep:
        env, body, (left, right) = self.unwrapped, self.body, self.legs
        if env.enable_wind and not (left.ground_contact or right.ground_contact):
            self._apply_wind()
        main, side, direction = self.engines(action)
        self._fire(main, side, direction)
        self.world_step(1.0 / FPS, 180, 60)
        position, velocity = body.position, body.linearVelocity
        self.x, self.y, self.angle = position.x, position.y, body.angle
        x, y = (self.x - HALF_WIDTH) / HALF_WIDTH, (self.y - self.ground) / HALF_HEIGHT
        v, w = velocity.x * HALF_WIDTH / FPS, velocity.y * HALF_HEIGHT / FPS
        touching = 1.0 if left.ground_contact else 0.0, 1.0 if right.ground_contact else 0.0
        obs = x, y, v, w, self.angle, 20.0 * body.angularVelocity / FPS, *touching
        shaping = -100 * math.sqrt(x * x + y * y) - 100 * math.sqrt(v * v + w * w)
        shaping = shaping - 100 * abs(self.angle) + 10 * touching[0] + 10 * touching[1]
        reward = shaping - self.shaping - main * 0.30 - side * 0.03
        self.shaping = shaping
        if not body.awake:
            return obs, 100.0, True, False, NO_INFO
        if env.game_over or abs(x) >= 1.0:
            return obs, -100.0, True, False, NO_INFO
        return obs, reward, False, False, NO_INFO

    @staticmethod
    def _discrete(action: int) -> tuple[float, float, float]:
        """0: none, 1: left, 2: main, 3: right. -> power of main and side engine, side direction."""
        if action == 2:
            return 1.0, 0.0, 0.0
        return (0.0, 1.0, action - 2.0) if action else (0.0, 0.0, 0.0)

    @staticmethod
    def _continuous(action: Any) -> tuple[float, float, float]:
        """(2,) float32 -> power of main and side engine, side direction."""
        main, side = action.tolist()
        main = (min(main, 1.0) + 1.0) * 0.5 if main > 0.0 else 0.0
        if not abs(side) > 0.5:
            return main, 0.0, 0.0
        return main, min(abs(side), 1.0), math.copysign(1.0, side)

    def _fire(self, main: float, side: float, direction: float) -> None:
        """Apply the impulses of both engines, at positions with gymnasium's noise."""
        draw = self.random
        noise_ahead, noise_aside = (-1.0 + 2.0 * draw()) / 30.0, (-1.0 + 2.0 * draw()) / 30.0
        sin, cos = math.sin(self.angle), math.cos(self.angle)
        if main:
            reach = MAIN_HEIGHT + 2 * noise_ahead
            x, y = sin * reach + -cos * noise_aside, -cos * reach - sin * noise_aside
            place = self.x + x, self.y + y
            self.push((-x * MAIN_POWER * main, -y * MAIN_POWER * main), place, True)
        if side:
            reach = 3 * noise_aside + direction * SIDE_AWAY / 30.0
            x, y = sin * noise_ahead + -cos * reach, -cos * noise_ahead - sin * reach
            place = self.x + x - sin * 17 / 30.0, self.y + y + cos * SIDE_HEIGHT / 30.0
            self.push((-x * SIDE_POWER * side, -y * SIDE_POWER * side), place, True)

    def _apply_wind(self) -> None:
        """Apply wind and turbulence."""
        env = self.unwrapped
        wind, turbulence = env.wind_idx, env.torque_idx
        self.body.ApplyForceToCenter((_gust(wind) * env.wind_power, 0.0), True)
        self.body.ApplyTorque(_gust(turbulence) * env.turbulence_power, True)
        env.wind_idx, env.torque_idx = wind + 1, turbulence + 1


def _gust(index: int) -> float:
    return math.tanh(math.sin(0.02 * index) + math.sin(math.pi * 0.01 * index))
