"""Adam on one flat vector of parameters (Kingma & Ba 2015, Algorithm 1)."""

from __future__ import annotations

import torch

from rl_cli.core.types import Params

BETA1, BETA2 = 0.9, 0.999


def coefficients(learning_rate: float, count: int) -> tuple[float, float]:
    """Bias-corrected step size and factor of the square root of the second moment.

    Args:
        learning_rate: Adam's alpha.
        count: number of the update, from 1.

    """
    return learning_rate / (1 - BETA1**count), (1 - BETA2**count) ** -0.5


def apply(
    flat: torch.Tensor,
    first_moment: torch.Tensor,
    second_moment: torch.Tensor,
    gradient: torch.Tensor,
    rate: torch.Tensor,
    correction: torch.Tensor,
    eps: float,
) -> None:
    """Update the parameters and both moments in place, (P,) each.

    `rate`, () or (P,), and `correction`, (), are the `coefficients`.
    """
    first_moment.lerp_(gradient, 1 - BETA1)
    second_moment.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    flat.sub_(rate * first_moment / (second_moment.sqrt() * correction + eps))


def flat_gradient(loss: torch.Tensor, params: Params) -> torch.Tensor:
    """Gradient of the loss by all parameters, (P,); 0 where the loss does not use one."""
    leaves = list(params.values())
    pieces = torch.autograd.grad(loss, leaves, allow_unused=True)
    with torch.no_grad():
        return torch.cat(
            [
                (torch.zeros_like(leaf) if g is None else g).reshape(-1)
                for leaf, g in zip(leaves, pieces, strict=True)
            ]
        )
