"""Running normalization of observations and rewards.

A single short row, the case of one env, is processed with Python floats: the same operations in the
same order as with numpy, so the same bits, without the overhead of some thirty numpy calls.
"""

from __future__ import annotations

import math

import numpy as np

from rl_cli.config.env import EnvConfig
from rl_cli.core.fields import COUNT, Fields
from rl_cli.core.obs_layout import ObsLayout, layout_of
from rl_cli.core.types import EnvSpec, State

SCALAR_PATH_MAX = 16
"""Length of a row up to which Python floats are faster than numpy."""

MAX_MEAN = 1e100
"""Bound of loaded statistics: their squares and sums stay finite."""


class RunningMoments:
    """Mean and variance of all rows seen (Chan, Golub & LeVeque 1979, parallel form).

    Initialized as one row of mean 0 and variance 1, so that no variance is 0.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean = np.zeros(shape)
        self.variance = np.ones(shape)
        self.count = 1.0

    def update(self, rows: np.ndarray) -> None:
        """Include rows (n, *shape)."""
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
        """Raises StateError if a shape or a value is not possible; nothing is changed then."""
        fields, shape = Fields(state), self.mean.shape
        mean = fields.array("mean", shape, np.float64, -MAX_MEAN, MAX_MEAN)
        variance = fields.array("variance", shape, np.float64, 0.0, MAX_MEAN**2)
        self.set_moments(mean.copy(), variance.copy(), fields.number("count", 1.0, COUNT))

    def set_moments(self, mean: np.ndarray, variance: np.ndarray, count: float) -> None:
        """Replace the statistics by those that other code has computed."""
        self.mean, self.variance, self.count = mean, variance, count


def _updated(mean: float, variance: float, count: float, value: float) -> tuple[float, float]:
    """`RunningMoments.update` with one number. -> the new mean and variance."""
    total, shift = count + 1, value - mean
    squares = variance * count + shift * shift * (count / total)
    return mean + shift * (1 / total), squares / total


def _scaled(value: float, variance: float, clip: float) -> float:
    return min(max(value / math.sqrt(variance + 1e-8), -clip), clip)


class ObservationNormalizer:
    """(obs - mean) / std, clipped. Only `observe` and `update_and_normalize` change the statistics."""

    def __init__(self, shape: tuple[int, ...], clip: float) -> None:
        self.moments, self.clip = RunningMoments(shape), clip

    def observe(self, obs: np.ndarray) -> None:
        """Include raw observations (n, *shape) in the statistics."""
        self.moments.update(obs)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Raw (n, *shape) -> normalized (n, *shape) float32."""
        scaled = (obs - self.moments.mean) / np.sqrt(self.moments.variance + 1e-8)
        return np.minimum(np.maximum(scaled, -self.clip), self.clip).astype(np.float32)

    def mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and std that `__call__` applies, (*shape) float64 each."""
        return self.moments.mean, np.sqrt(self.moments.variance + 1e-8)

    def update_and_normalize(self, obs: np.ndarray) -> np.ndarray:
        """`observe`, then normalize. Raw (n, *shape) -> (n, *shape) float32."""
        if len(obs) == 1 and obs.ndim == 2 and obs.size <= SCALAR_PATH_MAX:
            return self._update_and_normalize_row(obs[0].tolist())
        self.observe(obs)
        return self(obs)

    def _update_and_normalize_row(self, row: list[float]) -> np.ndarray:
        moments, out = self.moments, []
        means, variances, count = moments.mean.tolist(), moments.variance.tolist(), moments.count
        for i, value in enumerate(row):
            means[i], variances[i] = _updated(means[i], variances[i], count, value)
            out.append(_scaled(value - means[i], variances[i], self.clip))
        moments.set_moments(np.array(means), np.array(variances), count + 1)
        return np.array([out], np.float32)


class VectorPartNormalizer(ObservationNormalizer):
    """The same for the vectors of observations with images, which stay as they are.

    Args:
        layout: of the observations.
        clip: bound of normalized values.

    """

    def __init__(self, layout: ObsLayout, clip: float) -> None:
        super().__init__((layout.vectors,), clip)
        self.layout = layout

    def observe(self, obs: np.ndarray) -> None:
        """Include raw observations (n, size) in the statistics."""
        super().observe(self.layout.as_vectors(obs))

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Raw (n, size) -> normalized (n, size), of the same dtype."""
        normalized = obs.copy()
        vectors = self.layout.as_vectors(normalized)
        vectors[...] = super().__call__(vectors)
        return normalized

    def update_and_normalize(self, obs: np.ndarray) -> np.ndarray:
        """`observe`, then normalize."""
        self.observe(obs)
        return self(obs)


class RewardNormalizer:
    """Divides rewards by the running std of the discounted return; the mean is not subtracted.

    Args:
        num_envs: number of envs, each with a discounted return of its own.
        gamma: discount.
        clip: bound of normalized rewards.
        moments: of the discounted returns, shared with another normalizer; None: new ones.

    """

    def __init__(
        self, num_envs: int, gamma: float, clip: float, moments: RunningMoments | None = None
    ) -> None:
        self.moments, self.gamma, self.clip = moments or RunningMoments(()), gamma, clip
        self.returns = np.zeros(num_envs)

    def __call__(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        """Raw rewards (n,) and episode ends (n,) -> scaled rewards (n,) float32."""
        if len(reward) == 1:
            return self._one(float(reward[0]), bool(done[0]))
        returns = self.returns[: len(reward)]  # a view: the lines below update it
        returns *= self.gamma
        returns += reward
        self.moments.update(returns)
        returns[done] = 0.0
        scaled = reward / np.sqrt(self.moments.variance + 1e-8)
        return np.minimum(np.maximum(scaled, -self.clip), self.clip).astype(np.float32)

    def _one(self, reward: float, done: bool) -> np.ndarray:
        moments, total = self.moments, float(self.returns[0]) * self.gamma + reward
        mean, variance = _updated(
            float(moments.mean), float(moments.variance), moments.count, total
        )
        moments.set_moments(np.array(mean), np.array(variance), moments.count + 1)
        self.returns[0] = 0.0 if done else total
        return np.array([_scaled(reward, variance, self.clip)], np.float32)

    def recorded(self, reward: np.ndarray, done: np.ndarray) -> np.ndarray:
        """Raw rewards (R,) and episode ends (R,) of R steps of one env -> scaled rewards (R,) float32.

        The statistics include them, as if the env had just made these steps.
        """
        one = RewardNormalizer(1, self.gamma, self.clip, self.moments)
        rows = (slice(i, i + 1) for i in range(len(reward)))
        return np.concatenate([one(reward[row], done[row]) for row in rows])

    def state_dict(self) -> State:
        return {"moments": self.moments.state_dict(), "returns": self.returns}

    def load_state_dict(self, state: State) -> None:
        """Raises StateError if a shape or a value is not possible."""
        fields = Fields(state)
        self.moments.load_state_dict(fields.mapping("moments"))
        self.returns[:] = fields.array(
            "returns", self.returns.shape, np.float64, -MAX_MEAN, MAX_MEAN
        )

    def set_returns(self, returns: np.ndarray) -> None:
        """Replace the discounted returns (n,) by those that native code has computed."""
        self.returns[:] = returns


def observation_normalizer(cfg: EnvConfig, spec: EnvSpec) -> ObservationNormalizer | None:
    """The normalizer of observations (N, *obs_shape) that `cfg` selects."""
    if not cfg.normalize_obs:
        return None
    layout = layout_of(spec)
    if layout is not None:
        return VectorPartNormalizer(layout, cfg.clip_obs)
    return ObservationNormalizer(spec.obs_shape, cfg.clip_obs)


def make_normalizers(
    cfg: EnvConfig, spec: EnvSpec, num_envs: int
) -> tuple[ObservationNormalizer | None, RewardNormalizer | None]:
    """The normalizers that `cfg` selects, of observations and of the rewards of `num_envs` envs."""
    reward = RewardNormalizer(num_envs, cfg.reward_gamma, cfg.clip_reward)
    return observation_normalizer(cfg, spec), reward if cfg.normalize_reward else None
