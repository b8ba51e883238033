"""The learning step, once for every algorithm: gradient, clip, Adam, target.

An algorithm states its loss as a pure function of named parameters and tensors. Here all
parameters lie in ONE flat tensor and the named ones are views of it, so that a norm is one
reduction, Adam a handful of whole-vector operations, a target update one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch

from rl_cli.types import Metrics, Params, State

Loss = Callable[..., "tuple[torch.Tensor, Metrics]"]

BETA1, BETA2 = 0.9, 0.999  # Adam's, as in the paper


class Learner:
    """Parameters and their Adam state; `step` moves them down the gradient of `loss`.

    Args:
        params: initial values by name.
        loss: loss(params, *inputs) -> ((), metrics); with a target: loss(params, target, *inputs).
        max_grad_norm: the whole gradient is scaled down to this norm; None: never.
        with_target: keep a second copy of the parameters that moves only by `update_target`.

    """

    def __init__(
        self,
        params: Params,
        loss: Loss,
        *,
        adam_eps: float,
        max_grad_norm: float | None,
        device: torch.device,
        with_target: bool = False,
    ) -> None:
        self.loss = loss
        self.adam_eps, self.max_grad_norm = adam_eps, max_grad_norm
        self.shapes = {name: value.shape for name, value in params.items()}
        self.flat = torch.cat([p.detach().reshape(-1) for p in params.values()]).to(device)
        self.params = self._views(self.flat)
        for view in self.params.values():
            view.requires_grad_()
        self.momentum = torch.zeros_like(self.flat)  # Adam's m
        self.variance = torch.zeros_like(self.flat)  # Adam's v
        self.updates = 0
        self.flat_target = self.flat.clone() if with_target else None
        self.target = {} if self.flat_target is None else self._views(self.flat_target)

    def _views(self, flat: torch.Tensor) -> Params:
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), flat.split(sizes), strict=True)
        return {name: part.view(shape).detach() for (name, shape), part in parts}

    def step(self, *inputs: object, learning_rate: float) -> Metrics:
        """One update. Returns the loss's metrics and the gradient's norm before clipping."""
        targets = (self.target,) if self.target else ()
        loss, metrics = self.loss(self.params, *targets, *inputs)
        leaves = list(self.params.values())
        pieces = torch.autograd.grad(loss, leaves, allow_unused=True)
        gradient = torch.cat(
            [
                (torch.zeros_like(leaf) if g is None else g).reshape(-1)
                for leaf, g in zip(leaves, pieces, strict=True)
            ]
        )
        norm = torch.linalg.vector_norm(gradient)
        if self.max_grad_norm is not None:
            gradient.mul_((self.max_grad_norm / (norm + 1e-6)).clamp_max(1.0))
        self._adam(gradient, learning_rate)
        return {"loss": loss.detach(), **metrics, "grad_norm": norm}

    def _adam(self, gradient: torch.Tensor, learning_rate: float) -> None:
        """Kingma & Ba 2015, Algorithm 1, on the whole parameter vector at once."""
        self.updates += 1
        self.momentum.lerp_(gradient, 1 - BETA1)
        self.variance.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        correction1, correction2 = 1 - BETA1**self.updates, 1 - BETA2**self.updates
        scale = self.variance.sqrt().mul_(correction2**-0.5).add_(self.adam_eps)
        self.flat.addcdiv_(self.momentum, scale, value=-learning_rate / correction1)

    def update_target(self, tau: float) -> None:
        """Target <- tau * online + (1 - tau) * target; tau = 1 is the hard copy."""
        assert self.flat_target is not None
        self.flat_target.lerp_(self.flat, tau)

    def policy_state(self) -> Params:
        """The parameters by name, as stored in a checkpoint's policy file."""
        return {name: view.detach().cpu().clone() for name, view in self.params.items()}

    def load_policy(self, params: Mapping[str, torch.Tensor]) -> None:
        """Take over parameters.

        Raises:
            ValueError: a name or a shape differs; says which.

        """
        for name, shape in self.shapes.items():
            if name not in params or params[name].shape != shape:
                found = tuple(params[name].shape) if name in params else "nothing"
                raise ValueError(f"{name} should be {tuple(shape)}, found {found}")
        if extra := set(params) - set(self.shapes):
            raise ValueError(f"unknown parameter {sorted(extra)[0]}")
        with torch.no_grad():
            for name, view in self.params.items():
                view.copy_(params[name])

    def state_dict(self) -> State:
        """All that a resumed run needs beside the policy."""
        state: State = {
            "momentum": self.momentum,
            "variance": self.variance,
            "updates": self.updates,
        }
        if self.flat_target is not None:
            state["target"] = self.flat_target
        return state

    def load_state_dict(self, state: State) -> None:
        """Take up a saved state; its arrays may be numpy's or torch's."""
        self.momentum.copy_(torch.as_tensor(state["momentum"]))
        self.variance.copy_(torch.as_tensor(state["variance"]))
        self.updates = cast(int, state["updates"])
        if self.flat_target is not None:
            self.flat_target.copy_(torch.as_tensor(state["target"]))
