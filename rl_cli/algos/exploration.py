"""Exploration: epsilon-greedy action selection and the noise of gSDE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rl_cli.core.fields import Fields
from rl_cli.core.types import State


def epsilon_greedy(
    greedy: Callable[[], np.ndarray],
    num_envs: int,
    num_actions: int,
    epsilon: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """For each env the greedy action, or with probability epsilon a uniform one. -> (N,) int64.

    `greedy` () -> (N,) is called only if at least one env takes its greedy action.
    """
    draws = rng.random(num_envs).tolist()
    action = greedy() if max(draws) >= epsilon else np.empty(num_envs, np.int64)
    for i, draw in enumerate(draws):
        # below epsilon, draw / epsilon is uniform in [0, 1): no second draw is needed
        if draw < epsilon:
            action[i] = int(draw / epsilon * num_actions)
    return action


class HeldNoise:
    """Noise of gSDE (N, F, A), one matrix per env, resampled every `every` steps.

    `every=None`: it is resampled only after `reset`.
    """

    def __init__(self, shape: tuple[int, int, int], every: int | None) -> None:
        self.matrices, self.every = np.zeros(shape, np.float32), every
        self.age = -1  # steps since the last draw; -1: the next step draws

    def at_step(self, num_envs: int, rng: np.random.Generator) -> np.ndarray:
        """Noise of the first `num_envs` envs for the next step. -> (num_envs, F, A)."""
        if self.age < 0 or (self.every is not None and self.age >= self.every):
            self.matrices = rng.standard_normal(self.matrices.shape, dtype=np.float32)
            self.age = 0
        self.age += 1
        return self.matrices[:num_envs]

    def reset(self) -> None:
        """Resample before the next step; called after an update, which has learned from this noise."""
        self.age = -1

    def state_dict(self) -> State:
        return {"matrices": self.matrices, "age": self.age}

    def load_state_dict(self, state: State) -> None:
        fields = Fields(state)
        self.matrices = fields.array("matrices", self.matrices.shape, np.float32).copy()
        self.age = fields.integer("age", -1)
