"""One gradient step as a function of tensors: loss, gradient, clipping, Adam."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from rl_cli.core.types import Details, Params
from rl_cli.engine import adam
from rl_cli.engine.flat_params import FlatParams
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
        adam_eps: float,
        max_grad_norm: float | None,
        max_grad_value: float | None,
        with_target: bool,
        rate_factors: Mapping[str, float],
    ) -> None:
        self.loss, self.layout, self.flat, self.params = loss, layout, flat, params
        self.adam_eps, self.with_target = adam_eps, with_target
        self.max_grad_norm, self.max_grad_value = max_grad_norm, max_grad_value
        self.rate_factors = {k: v for k, v in rate_factors.items() if v != 1.0}
        self.metric_names: tuple[str, ...] = ()  # known once the step has run or was traced

    def __call__(self, structure: Structure, *arguments: torch.Tensor) -> list[torch.Tensor]:
        """Take the step, in place, whatever an env has set for the whole process.

        Args:
            structure: of the loss's inputs.
            arguments: parameters, first and second moment, and the target's parameters if there is a
                target, (P,) each; scalars: Adam's two coefficients and the inputs that are numbers;
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
        rate, correction, *numbers = others.pop(0).unbind()
        inputs = unflatten(structure, others, numbers, flat.device)
        loss, metrics = self.loss(params, *targets, *inputs)
        gradient = adam.flat_gradient(loss, params)
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
            if self.rate_factors:
                rate = self.layout.per_parameter(rate, self.rate_factors)
            adam.apply(flat, first_moment, second_moment, gradient, rate, correction, self.adam_eps)
        self.metric_names = (*single, *by_row)
        return [stacked[: len(single)], *by_row.values()]
