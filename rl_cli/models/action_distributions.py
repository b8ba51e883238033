"""Action distributions, as pure functions of the actor network's output.

Updates use the torch methods (`log_prob`, `entropy`); acting uses the NumPy methods (`sample`, `mode`),
which cost a fraction of torch's time on a few rows and draw from an explicit generator.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch

from rl_cli.config.ppo import Std
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, Arrays, Params
from rl_cli.models.gaussians import (
    GSDE,
    AnnealedGaussian,
    FixedGaussian,
    Gaussian,
    StateDependentGaussian,
    Tanh,
)

FEW = 64
"""Number of logits up to which plain Python arithmetic is faster than NumPy calls."""


class Distribution(Protocol):
    """Distribution over actions (B, *action_shape), given the network's output `out` (B, outputs).

    If `latent` = F > 0, the network appends the F inputs of its last layer: `out` is (B, outputs + F).
    """

    outputs: int
    latent: int

    def init(self) -> Params: ...

    def log_prob(self, params: Params, out: torch.Tensor, action: torch.Tensor) -> torch.Tensor: ...

    def entropy(self, params: Params, out: torch.Tensor) -> torch.Tensor: ...

    def sample(self, params: Arrays, out: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...

    def mode(self, out: np.ndarray) -> np.ndarray: ...


class Categorical:
    """One discrete action, or k independent ones (MultiDiscrete) with concatenated logits."""

    def __init__(self, action: ActionSpec) -> None:
        self.sizes, self.shape, self.outputs = action.sizes, action.shape, sum(action.sizes)
        self.splits, self.latent = np.cumsum(action.sizes)[:-1], 0

    def init(self) -> Params:
        return {}

    def log_prob(self, params: Params, out: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """(B, outputs), (B, *shape) int64 -> (B,)."""
        picks = action.reshape(len(out), len(self.sizes))
        parts = [
            logits.log_softmax(-1).gather(-1, picks[:, k : k + 1])
            for k, logits in enumerate(out.split(self.sizes, dim=-1))
        ]
        return torch.cat(parts, dim=-1).sum(-1)

    def entropy(self, params: Params, out: torch.Tensor) -> torch.Tensor:
        """(B, outputs) -> (B,)."""
        logs = [logits.log_softmax(-1) for logits in out.split(self.sizes, dim=-1)]
        return -torch.stack([(log.exp() * log).sum(-1) for log in logs]).sum(0)

    def sample(self, params: Arrays, out: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Sample by inverting the cumulative distribution. (B, outputs) -> (B, *shape) int64."""
        if self.shape == () and out.size <= FEW:
            points = rng.random(len(out)).tolist()
            return np.array([_draw(*pair) for pair in zip(out.tolist(), points, strict=True)])
        picks = []
        for logits in np.split(out, self.splits, axis=-1):
            weight = np.exp(logits - logits.max(-1, keepdims=True)).cumsum(-1)
            point = rng.random((len(out), 1)) * weight[:, -1:]
            picks.append((weight[:, :-1] <= point).sum(-1))
        return np.stack(picks, axis=-1).reshape(len(out), *self.shape)

    def mode(self, out: np.ndarray) -> np.ndarray:
        if len(self.sizes) == 1:
            pick: np.ndarray = out.argmax(-1)
            return pick.reshape(len(out), *self.shape)
        picks = [logits.argmax(-1) for logits in np.split(out, self.splits, axis=-1)]
        return np.stack(picks, axis=-1).reshape(len(out), *self.shape)


def _draw(logits: list[float], point: float) -> int:
    """Invert the cumulative distribution at `point` in [0, 1)."""
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    left = point * sum(weights)
    for choice, weight in enumerate(weights):
        left -= weight
        if left < 0.0:
            return choice
    return max(range(len(weights)), key=weights.__getitem__)  # rounding error in the sum


def make_distribution(
    action: ActionSpec,
    log_std_init: float = 0.0,
    std: Std = "learned",
    squash: bool = False,
    latent: int = 0,
) -> Distribution:
    """A Gaussian for box actions; a (product of) categoricals for discrete ones.

    Args:
        action: kind, shape and bounds of the action.
        log_std_init: initial log standard deviation of a Gaussian.
        std: what the standard deviation depends on: one of the classes of `gaussians`.
        squash: map a Gaussian to the action's bounds by tanh.
        latent: number of features that gSDE reads.

    Raises:
        BadInput: `std` or `squash` is set for discrete actions; `squash` is set for unbounded ones.

    """
    if action.kind != "box":
        _require_default_switches(action, std, squash)
        return Categorical(action)
    if squash and not np.isfinite([*action.low, *action.high]).all():
        raise BadInput(
            "squash_actions=true needs bounded actions; the action space of this env has no bounds",
            "algo.squash_actions=true",
            "algo.squash_actions=false",
        )
    tanh = Tanh(action) if squash else None
    if std == "gsde":
        return GSDE(action, log_std_init, tanh, latent)
    kinds = {
        "fixed": FixedGaussian,
        "annealed": AnnealedGaussian,
        "state_dependent": StateDependentGaussian,
    }
    return kinds.get(std, Gaussian)(action, log_std_init, tanh)


def _require_default_switches(action: ActionSpec, std: Std, squash: bool) -> None:
    switch, plain = (
        ("squash_actions=true", "squash_actions=false") if squash else (f"std={std}", "std=learned")
    )
    if squash or std != "learned":
        raise BadInput(
            f"algo.{switch} needs continuous actions; the actions of this env are {action.kind}",
            f"algo.{switch}",
            f"use algo.{plain}, or an env with continuous actions: env=pendulum",
        )
