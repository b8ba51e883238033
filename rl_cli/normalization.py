"""Running statistics that bring observations and rewards to unit scale."""

from __future__ import annotations

from typing import cast

import numpy as np

from rl_cli.types import State


class RunningMoments:
    """Mean and variance of all rows seen (Chan, Golub & LeVeque 1979, parallel form).

    Starts as one row of mean 0 and variance 1, so that the first rows are not divided by nothing.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean = np.zeros(shape)
        self.variance = np.ones(shape)
        self.count = 1.0

    def update(self, rows: np.ndarray) -> None:
        """Take in (n, *shape) rows."""
        n, total = len(rows), self.count + len(rows)
        mean = np.add.reduce(rows, axis=0, dtype=np.float64) / n
        shift = mean - self.mean
        squares = self.variance * self.count + shift * shift * (self.count * n / total)
        if n > 1:
            squares += np.add.reduce(np.square(rows - mean), axis=0)
        self.mean = self.mean + shift * (n / total)
        self.variance, self.count = squares / total, total

    def state_dict(self) -> State:
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def load_state_dict(self, state: State) -> None:
        """Raises ValueError where the shape is not the one expected."""
        mean, variance = np.asarray(state["mean"], float), np.asarray(state["variance"], float)
        if mean.shape != self.mean.shape or variance.shape != self.mean.shape:
            raise ValueError(f"statistics are {mean.shape}, observations {self.mean.shape}")
        self.mean, self.variance, self.count = mean, variance, cast(float, state["count"])


class ObservationNormalizer:
    """(obs - mean) / std, clipped. Learns in `observe` only: evaluation never calls it."""

    def __init__(self, shape: tuple[int, ...], clip: float) -> None:
        self.moments, self.clip = RunningMoments(shape), clip

    def observe(self, obs: np.ndarray) -> None:
        """Take in raw observations (n, *shape)."""
        self.moments.update(obs)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Raw (n, *shape) -> normalised (n, *shape) float32."""
        scaled = (obs - self.moments.mean) / np.sqrt(self.moments.variance + 1e-8)
        return np.minimum(np.maximum(scaled, -self.clip), self.clip).astype(np.float32)


class RewardNormalizer:
    """Rewards divided by the running std of the discounted return, without shifting the mean."""

    def __init__(self, num_envs: int, gamma: float, clip: float) -> None:
        self.moments, self.gamma, self.clip = RunningMoments(()), gamma, clip
        self.returns = np.zeros(num_envs)

    def __call__(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        """Raw rewards (n,) and episode ends (n,) -> scaled rewards (n,) float32."""
        returns = self.returns[: len(reward)]  # a view: what follows moves the running returns
        returns *= self.gamma
        returns += reward
        self.moments.update(returns)
        returns[done] = 0.0
        scaled = reward / np.sqrt(self.moments.variance + 1e-8)
        return np.minimum(np.maximum(scaled, -self.clip), self.clip).astype(np.float32)

    def state_dict(self) -> State:
        return {"moments": self.moments.state_dict(), "returns": self.returns}

    def load_state_dict(self, state: State) -> None:
        self.moments.load_state_dict(cast(State, state["moments"]))
        self.returns[:] = cast(np.ndarray, state["returns"])
