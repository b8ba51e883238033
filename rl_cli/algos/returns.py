"""The formulas, as pure functions of tensors. Shapes as in `types`."""

from __future__ import annotations

import torch


def td_target(
    reward: torch.Tensor, terminated: torch.Tensor, next_value: torch.Tensor, gamma: float
) -> torch.Tensor:
    """One-step target y = r + gamma V(s') (1 - terminated). All (B,) -> (B,).

    A truncated step is bootstrapped like any other: its next_obs is the true one.
    """
    return reward + gamma * next_value * (1.0 - terminated)


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
