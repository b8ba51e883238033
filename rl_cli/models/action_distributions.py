"""Policies' action distributions, as pure functions of the network's output.

Learning uses the torch side (`log_prob`, `entropy`); acting uses the numpy side (`sample`,
`mode`), which is several times cheaper on a handful of rows and draws from a named stream.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch

from rl_cli.config.ppo import Std
from rl_cli.core.errors import BadInput
from rl_cli.core.types import ActionSpec, Arrays, Params
from rl_cli.models.gaussians import GSDE, FixedGaussian, Gaussian, StateDependentGaussian, Tanh

FEW = 64
"""Logits up to which Python's own arithmetic is quicker than ten calls of numpy."""


class Distribution(Protocol):
    """`out` is the network's output (B, outputs); actions are (B, *action_shape).

    With `latent` features F the network gives the input of its last layer beside its output, and
    `out` is (B, outputs + F).
    """

    outputs: int
    latent: int

    def init(self) -> Params: ...

    def log_prob(self, params: Params, out: torch.Tensor, action: torch.Tensor) -> torch.Tensor: ...

    def entropy(self, params: Params, out: torch.Tensor) -> torch.Tensor: ...

    def sample(self, params: Arrays, out: np.ndarray, rng: np.random.Generator) -> np.ndarray: ...

    def mode(self, out: np.ndarray) -> np.ndarray: ...


class Categorical:
    """One choice, or k independent ones whose logits lie side by side (MultiDiscrete)."""

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
        """By inverting the cumulative distribution. (B, outputs) -> (B, *shape) int64."""
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
    """The choice at `point`, in [0, 1), of the cumulative distribution."""
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    left = point * sum(weights)
    for choice, weight in enumerate(weights):
        left -= weight
        if left < 0.0:
            return choice
    return max(range(len(weights)), key=weights.__getitem__)  # rounding ate the last share


def make_distribution(
    action: ActionSpec,
    log_std_init: float = 0.0,
    std: Std = "learned",
    squash: bool = False,
    latent: int = 0,
) -> Distribution:
    """Gaussians for box actions, a (product of) categoricals for discrete ones.

    `latent`: the features that gSDE has to work with.

    Raises:
        BadInput: a switch of real-valued actions for discrete ones; no bounds to squash to.

    """
    if action.kind != "box":
        _refuse_switches(action, std, squash)
        return Categorical(action)
    if squash and not np.isfinite([*action.low, *action.high]).all():
        raise BadInput(
            "tanh squashes actions to their bounds, and this env has none",
            "algo.squash_actions=true",
            "algo.squash_actions=false",
        )
    tanh = Tanh(action) if squash else None
    if std == "gsde":
        return GSDE(action, log_std_init, tanh, latent)
    kinds = {"fixed": FixedGaussian, "state_dependent": StateDependentGaussian}
    return kinds.get(std, Gaussian)(action, log_std_init, tanh)


def _refuse_switches(action: ActionSpec, std: Std, squash: bool) -> None:
    switch, plain = (
        ("squash_actions=true", "squash_actions=false") if squash else (f"std={std}", "std=learned")
    )
    if squash or std != "learned":
        raise BadInput(
            f"algo.{switch} is for real-valued actions, this env has {action.kind} ones",
            f"algo.{switch}",
            f"algo.{plain}, or an env with real-valued actions: env=pendulum",
        )
