"""Exploration: epsilon-greedy action selection, its schedule, and the noise of gSDE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rl_cli.config.dqn import DQNConfig
from rl_cli.core import schedules
from rl_cli.core.fields import Fields
from rl_cli.core.types import State, Transition


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


class EpsilonSchedule:
    """Probability of a random action: 1 until `learning_starts`, then epsilon_start to epsilon_end.

    It decays with env steps, linearly or exponentially, or by `epsilon_factor` per finished episode.

    Attributes:
        episodes: finished episodes; counted only if epsilon depends on them.

    """

    def __init__(self, cfg: DQNConfig) -> None:
        self.cfg, self.episodes = cfg, 0

    def epsilon(self, step: int) -> float:
        """Its value at an env step."""
        cfg = self.cfg
        if step < cfg.learning_starts:
            return 1.0
        if cfg.epsilon_factor is not None:
            return max(cfg.epsilon_start * cfg.epsilon_factor**self.episodes, cfg.epsilon_end)
        decay = schedules.linear if cfg.epsilon_decay == "linear" else schedules.exponential
        return decay(cfg.epsilon_start, cfg.epsilon_end, cfg.epsilon_steps, step)

    def observe(self, transition: Transition) -> None:
        """Count the episodes that end with a step of all envs."""
        if self.cfg.epsilon_factor is not None:
            self.episodes += int((transition.terminated | transition.truncated).sum())

    def load_state_dict(self, state: State, total_timesteps: int) -> None:
        """Restore `episodes`, 0 in states without it. Raises StateError: more than `total_timesteps`."""
        self.episodes = Fields(state).integer("episodes", 0, total_timesteps, default=0)


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
