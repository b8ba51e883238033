"""TODO."""

from __future__ import annotations

import torch


def one_hot(index: torch.Tensor, size: int) -> torch.Tensor:
    """1 at the index, else 0. (B,) int64 -> (B, size) float32."""
    return (index.unsqueeze(-1) == torch.arange(size, device=index.device)).float()


def clipped_surrogate(
    log_ratio: torch.Tensor, advantage: torch.Tensor, clip_coef: torch.Tensor
) -> torch.Tensor:
    """PPO's objective L^CLIP, to be maximised (Schulman et al. 2017, eq. 7). (B,), (B,) -> ().

    mean of min(r A, clip(r, 1 - eps, 1 + eps) A) with r = exp(log_ratio).
    """
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip_coef, 1.0 + clip_coef)
    return torch.minimum(ratio * advantage, clipped * advantage).mean()


def approx_kl(log_ratio: torch.Tensor) -> torch.Tensor:
    """KL(old || new) estimated from old samples: mean of (r - 1) - log r, never negative. -> ()."""
    return (torch.expm1(log_ratio) - log_ratio).mean()


def explained_variance(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - Var(target - predicted) / Var(target): 1 is perfect, 0 as good as a constant. -> ()."""
    left = (target - predicted).var(correction=0)
    return 1.0 - left / target.var(correction=0).clamp_min(1e-8)


def standardise(x: torch.Tensor) -> torch.Tensor:
    """Mean 0 and standard deviation 1; a single value becomes 0."""
    return (x - x.mean()) / (x.std(correction=0) + 1e-8)
