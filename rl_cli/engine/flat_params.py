"""Named parameters as views of one flat tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from rl_cli.core.types import Params


class FlatParams:
    """Names and shapes of parameters, in the order in which a flat tensor (P,) holds them.

    Args:
        params: one value of each.

    """

    def __init__(self, params: Params) -> None:
        self.shapes = {name: value.shape for name, value in params.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]

    def views(self, flat: torch.Tensor) -> Params:
        """Views of a flat tensor (P,), by name, without gradient."""
        parts = zip(self.shapes.items(), flat.split(self.sizes), strict=True)
        return {name: part.view(shape).detach() for (name, shape), part in parts}

    def leaves(self, flat: torch.Tensor) -> Params:
        """Views of a flat tensor (P,), by name, that require a gradient."""
        return {name: view.requires_grad_() for name, view in self.views(flat).items()}

    def per_parameter(self, rate: torch.Tensor, factors: Mapping[str, float]) -> torch.Tensor:
        """Rate times the factor of each parameter's name, 1 for names without one. () -> (P,)."""
        sizes = zip(self.shapes, self.sizes, strict=True)
        return torch.cat([(rate * factors.get(name, 1.0)).expand(size) for name, size in sizes])

    def require(self, params: Mapping[str, torch.Tensor]) -> None:
        """Check names and shapes.

        Raises:
            ValueError: names the first parameter that is missing, unknown or of another shape.

        """
        for name, shape in self.shapes.items():
            if name not in params or params[name].shape != shape:
                found = tuple(params[name].shape) if name in params else "nothing"
                raise ValueError(f"{name} should be {tuple(shape)}, found {found}")
        if extra := set(params) - set(self.shapes):
            raise ValueError(f"unknown parameter {sorted(extra)[0]}")
