"""Key assignments of rl-play."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec

Choice = int | tuple[float, ...]

MAX_NUMBER_KEYS = 10
"""Discrete actions that can be assigned to the number keys."""


class Key(NamedTuple):
    """Keys (pygame's names) that select the same action, or add the same part of a continuous one."""

    names: tuple[str, ...]
    choice: Choice
    description: str


class Keyboard(NamedTuple):
    """The keys of an env. `idle`: the action without a key; None: the env waits for a key."""

    keys: tuple[Key, ...]
    idle: Choice | None = None

    def action(self, pressed: Sequence[str], spec: ActionSpec) -> np.ndarray | None:
        """The action of the pressed keys, (*action_shape); None: wait for a key.

        A discrete action is that of the key pressed last; parts of a continuous action are summed.
        """
        chosen = [key.choice for name in pressed for key in self.keys if name in key.names]
        if self.idle is not None:
            chosen.insert(0, self.idle)
        if not chosen:
            return None
        if spec.kind == "box":
            total: np.ndarray = np.array(chosen, spec.dtype).sum(0)
            return total
        return np.array(chosen[-1], spec.dtype)

    def help_lines(self) -> list[str]:
        """One line for each key."""
        return [f"{' or '.join(key.names):<12}{key.description}" for key in self.keys]


def _left(choice: Choice, description: str) -> Key:
    return Key(("left", "a"), choice, description)


def _right(choice: Choice, description: str) -> Key:
    return Key(("right", "d"), choice, description)


def _up(choice: Choice, description: str) -> Key:
    return Key(("up", "w"), choice, description)


def _down(choice: Choice, description: str) -> Key:
    return Key(("down", "s"), choice, description)


_LANDER = Keyboard(
    (
        _left((0.0, -1.0), "left engine"),
        _right((0.0, 1.0), "right engine"),
        _up((1.0, 0.0), "main engine"),
    ),
    (0.0, 0.0),
)

KEYBOARDS: dict[tuple[str, str], Keyboard] = {
    ("CartPole", "discrete"): Keyboard((_left(0, "push left"), _right(1, "push right"))),
    ("MountainCar", "discrete"): Keyboard((_left(0, "push left"), _right(2, "push right")), 1),
    ("MountainCarContinuous", "box"): Keyboard(
        (_left((-1.0,), "push left"), _right((1.0,), "push right")), (0.0,)
    ),
    ("Acrobot", "discrete"): Keyboard(
        (_left(0, "turn the joint clockwise"), _right(2, "turn it counter-clockwise")), 1
    ),
    ("Pendulum", "box"): Keyboard(
        (_left((2.0,), "turn counter-clockwise"), _right((-2.0,), "turn clockwise")), (0.0,)
    ),
    ("LunarLander", "discrete"): Keyboard(
        (_left(1, "left engine"), _right(3, "right engine"), _up(2, "main engine")), 0
    ),
    ("LunarLander", "box"): _LANDER,
    ("LunarLanderContinuous", "box"): _LANDER,
    ("CarRacing", "box"): Keyboard(
        (
            _left((-1.0, 0.0, 0.0), "steer left"),
            _right((1.0, 0.0, 0.0), "steer right"),
            _up((0.0, 1.0, 0.0), "gas"),
            _down((0.0, 0.0, 0.8), "brake"),  # full braking would lock the wheels
        ),
        (0.0, 0.0, 0.0),
    ),
    ("CarRacing", "discrete"): Keyboard(
        (_left(2, "steer left"), _right(1, "steer right"), _up(3, "gas"), _down(4, "brake")), 0
    ),
    ("BipedalWalker", "box"): Keyboard(
        (
            Key(("a",), (-1.0, 0.0, 0.0, 0.0), "hip of one leg"),
            Key(("d",), (1.0, 0.0, 0.0, 0.0), "the same, other direction"),
            Key(("s",), (0.0, -1.0, 0.0, 0.0), "its knee"),
            Key(("w",), (0.0, 1.0, 0.0, 0.0), "the same, other direction"),
            Key(("left",), (0.0, 0.0, -1.0, 0.0), "hip of the other leg"),
            Key(("right",), (0.0, 0.0, 1.0, 0.0), "the same, other direction"),
            Key(("down",), (0.0, 0.0, 0.0, -1.0), "its knee"),
            Key(("up",), (0.0, 0.0, 0.0, 1.0), "the same, other direction"),
        ),
        (0.0, 0.0, 0.0, 0.0),
    ),
    ("FrozenLake", "discrete"): Keyboard(
        (_left(0, "go left"), _down(1, "go down"), _right(2, "go right"), _up(3, "go up"))
    ),
    ("CliffWalking", "discrete"): Keyboard(
        (_up(0, "go up"), _right(1, "go right"), _down(2, "go down"), _left(3, "go left"))
    ),
}
"""(name of the env, kind of its actions) -> its keys."""


def keyboard_of(env_id: str, spec: ActionSpec) -> Keyboard:
    """The keys of an env: from the table, else the number keys for discrete actions.

    Raises:
        BadInput: the env is not in the table and its actions are not at most 10 discrete ones.

    """
    name = re.sub(r"-v\d+$", "", env_id.rpartition(":")[2]).rpartition("/")[2]
    found = KEYBOARDS.get((name, spec.kind))
    if found is not None:
        return found
    if spec.kind != "discrete" or spec.sizes[0] > MAX_NUMBER_KEYS:
        what = f"{spec.sizes[0]} actions" if spec.kind == "discrete" else f"{spec.kind} actions"
        raise BadInput(
            f"no keys are assigned for {env_id}, which has {what}",
            f"env.id={env_id}",
            f"choose another env; up to {MAX_NUMBER_KEYS} discrete actions are assigned to the number keys",
        )
    return Keyboard(tuple(Key((str(i),), i, f"action {i}") for i in range(spec.sizes[0])))
