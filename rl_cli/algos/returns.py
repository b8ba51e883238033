"""TD targets, returns and advantages, as pure functions of tensors."""

from __future__ import annotations

import torch


def td_target(
    reward: torch.Tensor, terminated: torch.Tensor, next_value: torch.Tensor, gamma: float
) -> torch.Tensor:
    """One-step target y = r + gamma V(s') (1 - terminated). All (B,) -> (B,).

    A truncated step is bootstrapped: `next_value` is the value of its final observation, not of the reset.
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
    """Generalized advantage estimates (Schulman et al. 2016, eq. 16). All (T, N) -> (T, N).

    delta_t = r_t + gamma V(s_{t+1}) (1 - terminated_t) - V(s_t)
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}

    `next_value[t]` is the value of the true successor of step t (never of a reset observation), so a
    time limit keeps its bootstrap in delta_t and ends only the sum over later steps.
    """
    delta = td_target(reward, terminated, next_value, gamma) - value
    carry = gamma * gae_lambda * (1.0 - torch.maximum(terminated, truncated))
    columns: list[list[float]] = []
    # Python floats: a tensor operation per step would cost more than the arithmetic
    for deltas, carries in zip(delta.T.tolist(), carry.T.tolist(), strict=True):
        running, column = 0.0, []
        for d, c in zip(reversed(deltas), reversed(carries), strict=True):
            running = d + c * running
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
    """Monte-Carlo returns R_t = r_t + gamma R_{t+1} within episodes. All (T, N) -> (T, N).

    At a time limit, and at the end of the rollout, V of the true successor replaces R_{t+1}.
    """
    tail = next_value * truncated
    tail[-1] = next_value[-1]
    # with V = 0 except there, and lambda = 1, GAE is this recursion
    return gae(reward, torch.zeros_like(reward), tail, terminated, truncated, gamma, 1.0)


def discounted_returns(reward: torch.Tensor, gamma: float, tail: float = 0.0) -> torch.Tensor:
    """Reward-to-go G_t = r_t + gamma G_{t+1} of one episode, with G_T = tail. (T,) -> (T,)."""
    returns = torch.empty_like(reward)
    running = tail
    for t, r in reversed(list(enumerate(reward.tolist()))):
        running = r + gamma * running
        returns[t] = running
    return returns
