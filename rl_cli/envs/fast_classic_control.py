"""Faster steps of gymnasium's classic control envs with bit-identical results.

Each class wraps an env made by gymnasium and uses its constants, its reset and its random generator.
Only `step` is reimplemented: the same operations in the same order on Python floats, where gymnasium
uses arrays of one to four numbers. A test compares both step by step.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from rl_cli.core.types import EnvStep
from rl_cli.envs.checked import Checked
from rl_cli.envs.fast_lunar_lander import NO_INFO, LunarLander


class Steppable(Protocol):
    """The part of gymnasium.Env that `VectorEnv` uses."""

    @property
    def unwrapped(self) -> Any: ...

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]: ...

    def step(self, action: Any, /) -> EnvStep: ...

    def close(self) -> None: ...


class FastEnv(ABC):
    """Base of the fast envs: reset and close."""

    always_finite = False  # True: observations and rewards are finite for any actions
    state_size: int  # numbers in `state`
    constants: tuple[float, ...] = (0.0,)  # of this env, in the order of classic_control.c
    state: tuple[float, ...]

    def __init__(self, env: Any) -> None:
        self.unwrapped = env

    @abstractmethod
    def step(self, action: Any, /) -> EnvStep:
        """Like `gymnasium.Env.step`."""

    def set_state(self, state: tuple[float, ...]) -> None:
        """Continue from `state`, which native steps have reached."""
        self.state = state

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.unwrapped.reset(seed=seed)
        self.state = tuple(float(x) for x in self.unwrapped.state)
        return obs, info

    def close(self) -> None:
        self.unwrapped.close()


class CartPole(FastEnv):
    """CartPole (Barto, Sutton & Anderson 1983), with gymnasium's constants."""

    state_size = 4
    always_finite = True  # bounded terms, over the length of an episode

    def __init__(self, env: CartPoleEnv) -> None:
        super().__init__(env)
        self.length, self.polemass_length = env.length, env.polemass_length
        self.total_mass, self.masspole = env.total_mass, env.masspole
        self.limits = env.x_threshold, env.theta_threshold_radians
        body = self.length, self.polemass_length, self.total_mass, self.masspole
        self.constants = (*body, *self.limits)

    def step(self, action: int, /) -> EnvStep:
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
        return self.state, 1.0, terminated, False, NO_INFO


class MountainCar(FastEnv):
    """MountainCar (Moore 1990; Sutton & Barto 2018, example 10.1)."""

    state_size = 2
    always_finite = True  # position and velocity are clipped

    def __init__(self, env: MountainCarEnv) -> None:
        super().__init__(env)
        self.force, self.gravity, self.goal = env.force, env.gravity, env.goal_velocity
        self.constants = self.force, self.gravity, self.goal

    def step(self, action: int, /) -> EnvStep:
        position, velocity = self.state
        velocity += (action - 1) * self.force + math.cos(3 * position) * (-self.gravity)
        velocity = min(max(velocity, -0.07), 0.07)
        position = min(max(position + velocity, -1.2), 0.6)
        if position == -1.2 and velocity < 0:
            velocity = 0.0
        self.state = position, velocity
        return self.state, -1.0, position >= 0.5 and velocity >= self.goal, False, NO_INFO


class Pendulum(FastEnv):
    """Pendulum; the torque and its products are float32, as in gymnasium."""

    state_size = 2

    def __init__(self, env: PendulumEnv) -> None:
        super().__init__(env)
        self.pull, self.push = 3 * env.g / (2 * env.l), 3.0 / (env.m * env.l**2)
        self.constants = self.pull, self.push

    def step(self, action: np.ndarray, /) -> EnvStep:
        angle, speed = self.state
        torque = min(max(action[0], np.float32(-2.0)), np.float32(2.0))
        turned = (angle + math.pi) % (2 * math.pi) - math.pi
        cost = math.pow(turned, 2) + 0.1 * math.pow(speed, 2) + float(0.001 * torque**2)
        speed += (self.pull * float(np.sin(angle)) + float(self.push * torque)) * 0.05
        speed = min(max(speed, -8.0), 8.0)
        angle += speed * 0.05
        self.state = angle, speed
        return (np.cos(angle), np.sin(angle), speed), -cost, False, False, NO_INFO


class Acrobot(FastEnv):
    """Acrobot (Sutton & Barto 1998, example 11.3, "book" equations); masses and lengths are 1."""

    state_size = 4
    always_finite = True  # angles are wrapped, velocities are clipped

    def step(self, action: int, /) -> EnvStep:
        first, second, speed, speed2 = _runge_kutta(self.state, action - 1.0)
        first, second = _wrapped(first), _wrapped(second)
        speed = min(max(speed, -4 * math.pi), 4 * math.pi)
        speed2 = min(max(speed2, -9 * math.pi), 9 * math.pi)
        self.state = first, second, speed, speed2
        cos = float(np.cos(first))
        up = -cos - float(np.cos(second + first)) > 1.0
        obs = cos, np.sin(first), np.cos(second), np.sin(second), speed, speed2
        return obs, 0.0 if up else -1.0, up, False, NO_INFO


Angles = tuple[float, float, float, float]  # of both links, and their angular velocities


def _runge_kutta(at: tuple[float, ...], torque: float) -> Angles:
    """0.2 s of Acrobot in one Runge-Kutta step of order 4."""
    a, b, c, d = at
    k1 = _acrobot(a, b, c, d, torque)
    k2 = _acrobot(a + 0.1 * k1[0], b + 0.1 * k1[1], c + 0.1 * k1[2], d + 0.1 * k1[3], torque)
    k3 = _acrobot(a + 0.1 * k2[0], b + 0.1 * k2[1], c + 0.1 * k2[2], d + 0.1 * k2[3], torque)
    k4 = _acrobot(a + 0.2 * k3[0], b + 0.2 * k3[1], c + 0.2 * k3[2], d + 0.2 * k3[3], torque)
    sixth = 0.2 / 6.0
    moved = [
        x + sixth * (p + 2 * q + 2 * r + s)
        for x, p, q, r, s in zip(at, k1, k2, k3, k4, strict=True)
    ]
    return moved[0], moved[1], moved[2], moved[3]


def _acrobot(first: float, second: float, speed: float, speed2: float, torque: float) -> Angles:
    """The derivative of Acrobot's state."""
    cos, sin = float(np.cos(second)), float(np.sin(second))
    d1 = 0.25 + (1.25 + cos) + 1.0 + 1.0
    d2 = 0.25 + 0.5 * cos + 1.0
    phi2 = 0.5 * 9.8 * float(np.cos(first + second - math.pi / 2))
    phi1 = -0.5 * speed2**2 * sin - speed2 * speed * sin
    phi1 = phi1 + 1.5 * 9.8 * float(np.cos(first - math.pi / 2)) + phi2
    inertia = 1.25 - d2**2 / d1
    turn2 = (torque + d2 / d1 * phi1 - 0.5 * speed**2 * sin - phi2) / inertia
    return speed, speed2, -(d2 * turn2 + phi1) / d1, turn2


def _wrapped(angle: float) -> float:
    """In [-pi, pi]."""
    while angle > math.pi:
        angle -= 2 * math.pi
    while angle < -math.pi:
        angle += 2 * math.pi
    return angle


FAST_ENVS: dict[type, type[FastEnv]] = {
    AcrobotEnv: Acrobot,
    CartPoleEnv: CartPole,
    MountainCarEnv: MountainCar,
    PendulumEnv: Pendulum,
}


def make_fast(env: gym.Env[Any, Any]) -> Steppable:
    """The fast version of an env, or the env itself if there is none (also if it is wrapped)."""
    inner = env.env if type(env) is Checked else env
    if isinstance(inner, CartPoleEnv) and inner._sutton_barto_reward:
        return env
    if _is_lander(type(inner)) and inner.render_mode is None:
        return LunarLander(inner)
    fast = FAST_ENVS.get(type(inner))
    return env if fast is None else fast(inner)


def is_fast(env: Steppable) -> bool:
    """Whether `make_fast` made an env."""
    return isinstance(env, (FastEnv, LunarLander))


def _is_lander(kind: type) -> bool:
    """Compares names, because importing the class needs Box2D."""
    module = "gymnasium.envs.box2d.lunar_lander"
    return (kind.__module__, kind.__qualname__) == (module, "LunarLander")
