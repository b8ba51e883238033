"""The formulas, as pure functions of tensors. Shapes as in `types`."""

from __future__ import annotations

import torch


def one_hot(index: torch.Tensor, size: int) -> torch.Tensor:
    """1 at the index, else 0. (B,) int64 -> (B, size) float32."""
    return (index.unsqueeze(-1) == torch.arange(size, device=index.device)).float()


def td_target(
    reward: torch.Tensor, terminated: torch.Tensor, next_value: torch.Tensor, gamma: float
) -> torch.Tensor:
    """One-step target y = r + gamma V(s') (1 - terminated). All (B,) -> (B,).

    A truncated step is bootstrapped like any other: its next_obs is the true one.
    """
    return reward + gamma * next_value * (1.0 - terminated)


def categorical_projection(
    probability: torch.Tensor, position: torch.Tensor, support: torch.Tensor
) -> torch.Tensor:
    """Probabilities at `position` shared out over an even support. (B, K), (B, K), (K,) -> (B, K).

    Bellemare et al. 2017, eq. 7: each goes to its two neighbours in proportion to its nearness;
    what lies outside goes to the nearest end.
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
    tau_i = (i - 1/2) / K is the middle of the i-th share.
    """
    count = quantiles.shape[-1]
    tau = (torch.arange(count, dtype=quantiles.dtype, device=quantiles.device) + 0.5) / count
    error = target.unsqueeze(1) - quantiles.unsqueeze(2)  # (B, i, j)
    size = error.abs()
    huber = torch.where(size <= 1.0, 0.5 * error.square(), size - 0.5)
    weight = (tau.view(1, -1, 1) - (error.detach() < 0).to(error.dtype)).abs()
    return (weight * huber).mean(-1).sum(-1)


def gae(
    reward: torch.Tensor,
    value: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float,
    gae_lambda: float,
) -> torch.Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, eq. 16). All (T, N) -> (T, N).

    delta_t = r_t + gamma V(s_{t+1}) (1 - terminated_t) - V(s_t)
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}

    `next_value[t]` is the value of the true successor of step t, so a time limit keeps its
    bootstrap in delta and only cuts the sum over later steps.
    """
    delta = td_target(reward, terminated, next_value, gamma) - value
    carry = gamma * gae_lambda * (1.0 - torch.maximum(terminated, truncated))
    columns: list[list[float]] = []
    pairs = zip(
        delta.T.tolist(), carry.T.tolist(), strict=True
    )  # Python's floats: no call per step
    for deltas, shares in pairs:
        running, column = 0.0, []
        for d, share in zip(reversed(deltas), reversed(shares), strict=True):
            running = d + share * running
            column.append(running)
        columns.append(column[::-1])
    return torch.tensor(columns, dtype=reward.dtype, device=reward.device).T.contiguous()


def returns_to_go(
    reward: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float,
) -> torch.Tensor:
    """Monte-Carlo returns R_t = r_t + gamma R_{t+1}, cut at episodes' ends. All (T, N) -> (T, N).

    A time limit, and the rollout's end, leave gamma V of the true successor in place of the rest.
    """
    tail = next_value * truncated
    tail[-1] = next_value[-1]
    # values of 0 but at the cuts, and lambda 1: the same recursion
    return gae(reward, torch.zeros_like(reward), tail, terminated, truncated, gamma, 1.0)


def discounted_returns(reward: torch.Tensor, gamma: float, tail: float = 0.0) -> torch.Tensor:
    """Reward-to-go G_t = r_t + gamma G_{t+1} of one episode, with G_T = tail. (T,) -> (T,)."""
    returns = torch.empty_like(reward)
    running = tail
    for t, r in reversed(list(enumerate(reward.tolist()))):
        running = r + gamma * running
        returns[t] = running
    return returns


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
