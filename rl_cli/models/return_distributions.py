"""Return distributions of Q-networks: the mean (DQN), a categorical (C51) or quantiles (QR-DQN).

z (B, K) are the network's outputs for one action: Q, K logits, or K quantiles. `pi` (B, A) are the
probabilities of the next action; a greedy policy has one 1 and zeros.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import torch

from rl_cli.core.products import without_false_warnings


def categorical_projection(
    probability: torch.Tensor, position: torch.Tensor, support: torch.Tensor
) -> torch.Tensor:
    """Project probabilities at `position` onto an even support. (B, K), (B, K), (K,) -> (B, K).

    Bellemare et al. 2017, eq. 7: each probability is split between the two nearest atoms in
    proportion to proximity; positions outside the support are clamped to its ends.
    """
    step = support[1] - support[0]
    inside = position.clamp(support[0], support[-1])
    nearness = (
        1.0 - (inside.unsqueeze(1) - support.view(1, -1, 1)).abs() / step
    )  # (B, K to, K from)
    return (nearness.clamp(0.0, 1.0) * probability.unsqueeze(1)).sum(-1)


def quantile_huber(quantiles: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Quantile Huber loss with kappa 1 (Dabney et al. 2018, eq. 10). (B, K), (B, K) -> (B,).

    sum over i of the mean over j of |tau_i - 1{y_j < theta_i}| L(y_j - theta_i), where
    tau_i = (i - 1/2) / K.
    """
    count = quantiles.shape[-1]
    tau = (torch.arange(count, dtype=quantiles.dtype, device=quantiles.device) + 0.5) / count
    error = target.unsqueeze(1) - quantiles.unsqueeze(2)  # (B, i, j)
    size = error.abs()
    huber = torch.where(size <= 1.0, 0.5 * error.square(), size - 0.5)
    weight = (tau.view(1, -1, 1) - (error.detach() < 0).to(error.dtype)).abs()
    return (weight * huber).mean(-1).sum(-1)


class ReturnDistribution(Protocol):
    """Operations on outputs `out` (B, A, K), outputs of one action `z` (B, K), targets `y` (B, K)."""

    atoms: int  # K

    def mean(self, z: torch.Tensor) -> torch.Tensor:
        """Expected return. (..., K) -> (...)."""

    def mean_in_numpy(self, out: np.ndarray) -> np.ndarray:
        """Expected returns in NumPy. (N, A * K) -> (N, A)."""

    def target(
        self, reward: torch.Tensor, discount: torch.Tensor, pi: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """Target r + discount Z(s', a'), a' ~ pi. (B,), (B,), (B, A), (B, A, K) -> (B, K)."""

    def per_sample_loss(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Loss of each sample. (B, K), (B, K) -> (B,)."""

    def priority(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Error for prioritized replay, >= 0. (B, K), (B, K) -> (B,)."""


class Expectation:
    """Q-values (Mnih et al. 2015): z is the expected return, K = 1; the priority is |TD error|."""

    atoms = 1

    def __init__(self, loss: Literal["huber", "mse"]) -> None:
        functions = torch.nn.functional
        self.loss = functions.smooth_l1_loss if loss == "huber" else functions.mse_loss

    def mean(self, z: torch.Tensor) -> torch.Tensor:
        return z.squeeze(-1)

    def mean_in_numpy(self, out: np.ndarray) -> np.ndarray:
        return out

    def target(
        self, reward: torch.Tensor, discount: torch.Tensor, pi: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        return (reward + discount * (pi * out.squeeze(-1)).sum(-1)).unsqueeze(-1)

    def per_sample_loss(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.loss(z, y, reduction="none").squeeze(-1)

    def priority(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (y - z).abs().squeeze(-1)


class Categorical:
    """C51: logits of K fixed returns (Bellemare et al. 2017, arXiv:1707.06887)."""

    def __init__(self, atoms: int, v_min: float, v_max: float) -> None:
        self.atoms, self.v_min, self.v_max = atoms, v_min, v_max
        self.support = np.linspace(v_min, v_max, atoms, dtype=np.float32)

    def _z(self, like: torch.Tensor) -> torch.Tensor:
        step = (self.v_max - self.v_min) / (self.atoms - 1)
        return self.v_min + step * torch.arange(self.atoms, dtype=like.dtype, device=like.device)

    def mean(self, z: torch.Tensor) -> torch.Tensor:
        return (z.softmax(-1) * self._z(z)).sum(-1)

    @without_false_warnings
    def mean_in_numpy(self, out: np.ndarray) -> np.ndarray:
        logits = out.reshape(len(out), -1, self.atoms)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        means: np.ndarray = weights.dot(self.support) / weights.sum(-1)
        return means

    def target(
        self, reward: torch.Tensor, discount: torch.Tensor, pi: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """Projected probabilities of the shifted returns."""
        probability = (pi.unsqueeze(-1) * out.softmax(-1)).sum(1)  # (B, K)
        support = self._z(out)
        shifted = reward.unsqueeze(-1) + discount.unsqueeze(-1) * support
        return categorical_projection(probability, shifted, support)

    def per_sample_loss(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """KL(y || z), whose gradient is that of the cross-entropy."""
        return (torch.xlogy(y, y) - y * z.log_softmax(-1)).sum(-1)

    def priority(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """KL(y || z) (Hessel et al. 2018, arXiv:1710.02298), >= 0 also after rounding."""
        return self.per_sample_loss(z, y).clamp_min(0.0)


class Quantiles:
    """QR-DQN: K equally likely returns (Dabney et al. 2018, arXiv:1710.10044). `pi` must be one-hot."""

    def __init__(self, atoms: int) -> None:
        self.atoms = atoms

    def mean(self, z: torch.Tensor) -> torch.Tensor:
        return z.mean(-1)

    def mean_in_numpy(self, out: np.ndarray) -> np.ndarray:
        means: np.ndarray = out.reshape(len(out), -1, self.atoms).mean(-1)
        return means

    def target(
        self, reward: torch.Tensor, discount: torch.Tensor, pi: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        chosen = (pi.unsqueeze(-1) * out).sum(1)  # (B, K)
        return reward.unsqueeze(-1) + discount.unsqueeze(-1) * chosen

    def per_sample_loss(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return quantile_huber(z, y)

    def priority(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (y.mean(-1) - z.mean(-1)).abs()


Kind = Literal["none", "c51", "qr"]


def make_return_distribution(
    kind: Kind, loss: Literal["huber", "mse"], atoms: int, v_min: float, v_max: float
) -> ReturnDistribution:
    """`none`: Q-values with `loss`; `c51`: probabilities of returns in [v_min, v_max]; `qr`: quantiles."""
    if kind == "c51":
        return Categorical(atoms, v_min, v_max)
    return Quantiles(atoms) if kind == "qr" else Expectation(loss)
