"""Gaussian distributions of continuous actions, by what the standard deviation depends on.

Each class implements `action_distributions.Distribution`. `Tanh` maps their samples to action bounds.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from rl_cli.config.ppo import LOG_STD_RANGE
from rl_cli.core.products import without_false_warnings
from rl_cli.core.types import ActionSpec, Arrays, Params

LOG_STD = "log_std"

MIN_VARIANCE = 1e-6
"""Added to the variance of gSDE, which is 0 where all features are 0."""

NODES = 24
"""Gauss-Hermite nodes for the expected log slope of tanh; the error is 1e-4 at std = 1."""


class Gaussian:
    """Independent normals with a learned log standard deviation, the same in all states.

    Without `squash` the env clips samples to its bounds, and `log_prob` is that of the unclipped
    action (details 23-27 of the 37 PPO details). With `squash`, u is normal and the action is
    a = tanh(u) scaled to the bounds (Haarnoja et al. 2018, arXiv:1801.01290, appendix C).
    Subclasses override `moments` (torch) and `moments_of` (the same in NumPy).
    """

    def __init__(self, action: ActionSpec, log_std_init: float, squash: Tanh | None = None) -> None:
        self.shape, self.log_std_init, self.squash = action.shape, log_std_init, squash
        self.actions = self.outputs = math.prod(action.shape)
        self.latent = 0

    def init(self) -> Params:
        return {LOG_STD: torch.full((self.actions,), self.log_std_init)}

    def moments(self, params: Params, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (B, A) and log std, (A,) or (B, A)."""
        return out, params[LOG_STD]

    def moments_of(self, params: Arrays, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (B, A) and std, (A,) or (B, A), in NumPy."""
        return out, self.std_of(params)

    def std_of(self, params: Arrays) -> np.ndarray:
        """Std (A,), in NumPy."""
        std: np.ndarray = np.exp(params[LOG_STD])
        return std

    def log_prob(self, params: Params, out: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """(B, outputs), (B, *shape) -> (B,)."""
        mean, log_std = self.moments(params, out)
        point = action.reshape(len(out), -1)
        if self.squash is not None:
            point, log_slope = self.squash.inverse(point)
        z = (point - mean) * torch.exp(-log_std)
        log_prob = (-0.5 * z.square() - log_std).sum(-1) - 0.5 * math.log(
            2 * math.pi
        ) * self.actions
        return log_prob if self.squash is None else log_prob - log_slope.sum(-1)

    def entropy(self, params: Params, out: torch.Tensor) -> torch.Tensor:
        """(B, outputs) -> (B,).

        For squashed actions H(a) = H(u) + E[log da/du]. H(u) alone grows without bound with the std,
        although the actions concentrate at their bounds.
        """
        mean, log_std = self.moments(params, out)
        total = log_std.sum(-1) + 0.5 * math.log(2 * math.pi * math.e) * self.actions
        if self.squash is not None:
            total = total + self.squash.mean_log_slope(mean, log_std).sum(-1)
        return total.expand(len(out))

    def sample(self, params: Arrays, out: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, std = self.moments_of(params, out)
        return self._action(mean + std * rng.standard_normal(mean.shape, dtype=np.float32))

    def mode(self, out: np.ndarray) -> np.ndarray:
        """The action at the mean. (B, outputs) -> (B, *shape)."""
        return self._action(out[:, : self.actions])

    def _action(self, point: np.ndarray) -> np.ndarray:
        squashed = point if self.squash is None else self.squash(point)
        return squashed.reshape(len(point), *self.shape)


class FixedGaussian(Gaussian):
    """Gaussian with a constant standard deviation."""

    def init(self) -> Params:
        return {}

    def moments(self, params: Params, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return out, out.new_full((self.actions,), self.log_std_init)

    def moments_of(self, params: Arrays, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return out, np.full(self.actions, math.exp(self.log_std_init), np.float32)


class AnnealedGaussian(Gaussian):
    """Gaussian whose log standard deviation decays during training (Schulman et al. 2017, table 4).

    It is a parameter without a gradient, which the algorithm sets, so that checkpoints hold it.
    """

    def moments(self, params: Params, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return out, params[LOG_STD].detach()


class StateDependentGaussian(Gaussian):
    """Gaussian whose mean and log standard deviation are both outputs of the network.

    The output is added to `log_std_init`, because initial outputs are near 0.
    """

    def __init__(self, action: ActionSpec, log_std_init: float, squash: Tanh | None = None) -> None:
        super().__init__(action, log_std_init, squash)
        self.outputs = 2 * self.actions

    def init(self) -> Params:
        return {}

    def moments(self, params: Params, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = out.split(self.actions, dim=-1)
        return mean, (self.log_std_init + log_std).clamp(*LOG_STD_RANGE)

    def moments_of(self, params: Arrays, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_std = np.clip(self.log_std_init + out[:, self.actions :], *LOG_STD_RANGE)
        return out[:, : self.actions], np.exp(log_std)


class GSDE(Gaussian):
    """Generalized state-dependent exploration (gSDE).

    Raffin et al. 2021 (arXiv:2005.05719), section 3. The noise of action j is theta_j . z(s), where z
    are the inputs of the mean's last layer and theta (F, A) ~ N(0, sigma^2) is resampled every few
    steps: between draws the noise is a function of the state. The marginal distribution of an action is
    normal with variance sum_i (sigma_ij z_i(s))^2 (eq. 7); `log_prob` and `entropy` are of this
    marginal. The variance passes no gradient to the features.
    """

    def __init__(
        self, action: ActionSpec, log_std_init: float, squash: Tanh | None, latent: int
    ) -> None:
        super().__init__(action, log_std_init, squash)
        self.latent = latent

    def init(self) -> Params:
        return {LOG_STD: torch.full((self.latent, self.actions), self.log_std_init)}

    def moments(self, params: Params, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, z = out.split([self.actions, self.latent], dim=-1)
        z = z.detach()
        variance = z.square() @ torch.exp(2 * params[LOG_STD]) + MIN_VARIANCE
        return mean, 0.5 * variance.log()

    @without_false_warnings
    def moments_of(self, params: Arrays, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, z = np.split(out, [self.actions], axis=-1)
        return mean, np.sqrt(np.square(z) @ np.exp(2 * params[LOG_STD]) + MIN_VARIANCE)

    @without_false_warnings
    def explore(self, params: Arrays, out: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions for given noise. (N, outputs + F), standard normal (N, F, A) -> (N, *shape)."""
        mean, z = np.split(out, [self.actions], axis=-1)
        theta = np.exp(params[LOG_STD]) * noise
        return self._action(mean + (z[:, None, :] @ theta)[:, 0])


class Tanh:
    """a = middle + half tanh(u), a map from the real numbers to the bounds of an action."""

    LIMIT = 1.0 - 2.0**-24
    """Largest float32 below 1: an action at its bound is inverted to u = 8.66."""

    def __init__(self, action: ActionSpec) -> None:
        low, high = np.array(action.low), np.array(action.high)
        self.middle = ((high + low) / 2).astype(np.float32)
        self.half = ((high - low) / 2).astype(np.float32)
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
        self.nodes, self.weights = nodes.tolist(), (weights / weights.sum()).tolist()

    def __call__(self, point: np.ndarray) -> np.ndarray:
        """Map u to a. (B, A) -> (B, A)."""
        squashed: np.ndarray = self.middle + self.half * np.tanh(point)
        return squashed

    def inverse(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map a to u; also log da/du = log half + log(1 - tanh(u)^2). (B, A) -> (B, A), (B, A)."""
        middle, half = (action.new_tensor(v.tolist()) for v in (self.middle, self.half))
        y = ((action - middle) / half).clamp(-self.LIMIT, self.LIMIT)
        up, down = torch.log1p(y), torch.log1p(-y)
        return 0.5 * (up - down), up + down + half.log()

    def mean_log_slope(self, mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
        """E[log da/du] of u ~ N(mean, std) by Gauss-Hermite quadrature. (B, A) -> (B, A).

        Deterministic and differentiable. The mean over sampled actions has the same value, but its
        gradient is 0 in expectation.
        """
        nodes, weights = (mean.new_tensor(v) for v in (self.nodes, self.weights))
        u = mean[..., None] + log_std.exp()[..., None] * nodes  # (B, A, nodes)
        size = u.abs()  # log(1 - tanh(u)^2) without overflow
        log_slope = 2 * (math.log(2) - size - torch.log1p(torch.exp(-2 * size)))
        return (log_slope * weights).sum(-1) + mean.new_tensor(self.half.tolist()).log()
