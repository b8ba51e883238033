"""Terms of losses, and statistics for metrics, as pure functions of tensors."""

from __future__ import annotations

import torch


def one_hot(index: torch.Tensor, size: int) -> torch.Tensor:
    """One-hot encoding. (B,) int64 -> (B, size) float32."""
    return (index.unsqueeze(-1) == torch.arange(size, device=index.device)).float()


def clipped_surrogate(
    log_ratio: torch.Tensor, advantage: torch.Tensor, clip_coef: torch.Tensor
) -> torch.Tensor:
    """PPO's objective L^CLIP, to be maximized (Schulman et al. 2017, eq. 7). (B,), (B,) -> ().

    mean of min(r A, clip(r, 1 - eps, 1 + eps) A) with r = exp(log_ratio).
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef)
    return torch.minimum(ratio * advantage, clipped * advantage).mean()


def approx_kl(log_ratio: torch.Tensor) -> torch.Tensor:
    """Estimate of KL(old || new) from samples of old: the mean of (r - 1) - log r, >= 0. (B,) -> ()."""
    return (torch.expm1(log_ratio) - log_ratio).mean()


def explained_variance(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - Var(target - predicted) / Var(target); 1 if exact, 0 for a constant. (B,), (B,) -> ()."""
    residual = (target - predicted).var(correction=0)
    return 1.0 - residual / target.var(correction=0).clamp_min(1e-8)


def standardize(x: torch.Tensor) -> torch.Tensor:
    """Shift and scale to mean 0 and standard deviation 1. (B,) -> (B,).

    A single value stays as it is, as in Stable-Baselines3: as 0 it would carry no gradient. Equal values
    become 0 exactly; the rounding error of their mean would otherwise be scaled to about 1.
    """
    if x.numel() == 1:
        return x
    scaled = (x - x.mean()) / (x.std(correction=0) + 1e-8)
    return torch.where(x.amax() > x.amin(), scaled, 0.0)
