"""gymnasium's classic control, a step in a third of the time and the same to the last bit.

Each class takes over an env that gymnasium made: its constants, its resets, its generator. Only the
step is our own: the same operations in the same order on Python's floats, where gymnasium's go
through arrays of one to four numbers. A test steps both side by side.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

Step = tuple[Any, Any, bool, bool, dict[str, Any]]
NOTHING: dict[str, Any] = {}


class Steppable(Protocol):
    """What a vector of envs asks of each."""

    @property
    def unwrapped(self) -> Any: ...

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]: ...

    def step(self, action: Any, /) -> Step: ...

    def close(self) -> None: ...


class _Lean:
    def __init__(self, env: Any) -> None:
        self.unwrapped = env

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.unwrapped.reset(seed=seed)
        self.state = tuple(float(x) for x in self.unwrapped.state)
        return obs, info

    def close(self) -> None:
        self.unwrapped.close()


class CartPole(_Lean):
    """Barto, Sutton & Anderson 1983, with gymnasium's constants."""

    def __init__(self, env: CartPoleEnv) -> None:
        super().__init__(env)
        self.length, self.polemass_length = env.length, env.polemass_length
        self.total_mass, self.masspole = env.total_mass, env.masspole
        self.limits = env.x_threshold, env.theta_threshold_radians

    def step(self, action: int, /) -> Step:
        x, x_dot, theta, theta_dot = self.state
        force = 10.0 if action == 1 else -10.0
        cos, sin = float(np.cos(theta)), float(np.sin(theta))
        temp = (force + self.polemass_length * (theta_dot * theta_dot) * sin) / self.total_mass
        theta_acc = (9.8 * sin - cos * temp) / (
            self.length * (4.0 / 3.0 - self.masspole * (cos * cos) / self.total_mass)
        )
        x_acc = temp - self.polemass_length * theta_acc * cos / self.total_mass
        x, x_dot = x + 0.02 * x_dot, x_dot + 0.02 * x_acc
        theta, theta_dot = theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc
        self.state = x, x_dot, theta, theta_dot
        far, steep = self.limits
        terminated = x < -far or x > far or theta < -steep or theta > steep
        return self.state, 1.0, terminated, False, NOTHING


class MountainCar(_Lean):
    """Moore 1990, as in Sutton & Barto's example 10.1."""

    def __init__(self, env: MountainCarEnv) -> None:
        super().__init__(env)
        self.force, self.gravity, self.goal = env.force, env.gravity, env.goal_velocity

    def step(self, action: int, /) -> Step:
        position, velocity = self.state
        velocity += (action - 1) * self.force + math.cos(3 * position) * (-self.gravity)
        velocity = min(max(velocity, -0.07), 0.07)
        position = min(max(position + velocity, -1.2), 0.6)
        if position == -1.2 and velocity < 0:
            velocity = 0.0
        self.state = position, velocity
        return self.state, -1.0, position >= 0.5 and velocity >= self.goal, False, NOTHING


class Pendulum(_Lean):
    """Swing-up; the torque is a float32, and so are its products, as in gymnasium."""

    def __init__(self, env: PendulumEnv) -> None:
        super().__init__(env)
        self.pull, self.push = 3 * env.g / (2 * env.l), 3.0 / (env.m * env.l**2)

    def step(self, action: np.ndarray, /) -> Step:
        angle, speed = self.state
        torque = min(max(action[0], np.float32(-2.0)), np.float32(2.0))
        turned = (angle + math.pi) % (2 * math.pi) - math.pi
        cost = math.pow(turned, 2) + 0.1 * math.pow(speed, 2) + float(0.001 * torque**2)
        speed += (self.pull * float(np.sin(angle)) + float(self.push * torque)) * 0.05
        speed = min(max(speed, -8.0), 8.0)
        angle += speed * 0.05
        self.state = angle, speed
        return (np.cos(angle), np.sin(angle), speed), -cost, False, False, NOTHING


LEAN: dict[type, type[_Lean]] = {
    CartPoleEnv: CartPole,
    MountainCarEnv: MountainCar,
    PendulumEnv: Pendulum,
}


def lean(env: gym.Env[Any, Any]) -> Steppable:
    """The quick twin of an env that has one, else the env itself. It must not be wrapped."""
    if isinstance(env, CartPoleEnv) and env._sutton_barto_reward:
        return env
    twin = LEAN.get(type(env))
    return env if twin is None else twin(env)  # type: ignore[return-value]
