"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from rl_cli.core.types import State


def epsilon_greedy(
    greedy: Callable[[], np.ndarray],
    num_envs: int,
    num_actions: int,
    epsilon: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """For each env the greedy action, or with probability epsilon any. -> (N,) int64.

    `greedy` is asked only if any env wants it.
    """
    coins = rng.random(num_envs).tolist()
    action = greedy() if max(coins) >= epsilon else np.empty(num_envs, np.int64)
    for i, coin in enumerate(coins):
        if coin < epsilon:  # and where below epsilon it lies is as good as another draw
            action[i] = int(coin / epsilon * num_actions)
    return action


class HeldNoise:
    """gSDE's draws (N, F, A), one for each env, held for `every` steps; None: until `renew`."""

    def __init__(self, shape: tuple[int, int, int], every: int | None) -> None:
        self.matrices, self.every = np.zeros(shape, np.float32), every
        self.age = -1  # steps since the draw; -1: the next step draws

    def at_step(self, envs: int, rng: np.random.Generator) -> np.ndarray:
        """What the first `envs` envs act with now. -> (envs, F, A)."""
        if self.age < 0 or (self.every is not None and self.age >= self.every):
            self.matrices = rng.standard_normal(self.matrices.shape, dtype=np.float32)
            self.age = 0
        self.age += 1
        return self.matrices[:envs]

    def renew(self) -> None:
        """Draw before the next step: these have been learned from, and are no longer chance."""
        self.age = -1

    def state_dict(self) -> State:
        return {"matrices": self.matrices, "age": self.age}

    def load_state_dict(self, state: State) -> None:
        self.matrices = np.array(state["matrices"], np.float32)
        self.age = cast(int, state["age"])
