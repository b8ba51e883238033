"""One gradient step as a function of tensors: loss, gradient, clipping, optimizer."""

from __future__ import annotations

from collections.abc import Callable

import torch

from rl_cli.core.types import Details, Params
from rl_cli.engine.flat_params import FlatParams
from rl_cli.engine.optimizers import Schedule
from rl_cli.engine.pytree import Structure, unflatten

Loss = Callable[..., "tuple[torch.Tensor, Details]"]


class Step:
    """Args: see `Learner`; flat, params: the learner's own parameters and their views."""

    def __init__(
        self,
        loss: Loss,
        layout: FlatParams,
        flat: torch.Tensor,
        params: Params,
        *,
        schedule: Schedule,
        max_grad_norm: float | None,
        max_grad_value: float | None,
        with_target: bool,
    ) -> None:
        self.loss, self.layout, self.flat, self.params = loss, layout, flat, params
        self.schedule, self.with_target = schedule, with_target
        self.max_grad_norm, self.max_grad_value = max_grad_norm, max_grad_value
        self.metric_names: tuple[str, ...] = ()  # known once the step has run or was traced

    def __call__(self, structure: Structure, *arguments: torch.Tensor) -> list[torch.Tensor]:
        """Take the step, in place, whatever an env has set for the whole process.

        Args:
            structure: of the loss's inputs.
            arguments: parameters, first and second moment, and the target's parameters if there is a
                target, (P,) each; scalars: the numbers of `Schedule` and the inputs that are numbers;
                then the other inputs.

        Returns:
            The metrics that are numbers, stacked, and then each metric that has a value per row. Their
            names are `metric_names`.

        """
        if not torch.is_grad_enabled():
            torch.set_grad_enabled(True)
        if torch.get_default_dtype() is not torch.float32:
            torch.set_default_dtype(torch.float32)
        return self._take(structure, *arguments)

    def _take(self, structure: Structure, *arguments: torch.Tensor) -> list[torch.Tensor]:
        flat, first_moment, second_moment, *others = arguments
        params = self.params if flat is self.flat else self.layout.leaves(flat)
        targets = [self.layout.views(others.pop(0))] if self.with_target else []
        scalars = others.pop(0).unbind()
        own, numbers = scalars[: self.schedule.width], scalars[self.schedule.width :]
        inputs = unflatten(structure, others, numbers, flat.device)
        loss, metrics = self.loss(params, *targets, *inputs)
        gradient = flat_gradient(loss, params)
        norm = clipped_norm = torch.linalg.vector_norm(gradient)
        if self.max_grad_value is not None:
            gradient = gradient.clamp(-self.max_grad_value, self.max_grad_value)
            clipped_norm = torch.linalg.vector_norm(gradient)
        values = {"loss": loss.detach(), **metrics, "grad_norm": norm}
        by_row = {name: value for name, value in values.items() if value.dim()}
        single = {name: value for name, value in values.items() if name not in by_row}
        stacked = torch.stack(list(single.values()))
        if self.max_grad_norm is not None:
            scale = (self.max_grad_norm / (clipped_norm + 1e-6)).clamp_max(1.0)
            stacked = torch.cat([stacked, scale.reshape(1)])
            # read from memory, or Inductor computes it again for each parameter
            gradient = gradient * stacked[-1]
        with torch.no_grad():
            self.schedule.apply((flat, first_moment, second_moment), gradient, own)
        self.metric_names = (*single, *by_row)
        return [stacked[: len(single)], *by_row.values()]


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
