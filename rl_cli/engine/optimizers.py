"""Optimizers on one flat vector of parameters: Adam, AdamW, RMSProp.

An optimizer says which numbers an update needs (`coefficients`, computed in Python) and how the update changes
the vectors in place (`apply`, traced and compiled with the update step).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import torch

from rl_cli.engine.flat_params import FlatParams

BETA1, BETA2 = 0.9, 0.999


class Optimizer(Protocol):
    """One of the classes of this module."""

    @property
    def width(self) -> int:
        """Number of coefficients."""

    @property
    def scaled(self) -> tuple[int, ...]:
        """Indices of the coefficients that are proportional to the step size."""

    def coefficients(self, learning_rate: float, count: int) -> tuple[float, ...]:
        """Numbers of an update.

        Args:
            learning_rate: step size.
            count: number of the update, from 1.

        """

    def apply(
        self,
        vectors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        gradient: torch.Tensor,
        coefficients: Sequence[torch.Tensor],
        due: torch.Tensor | None = None,
    ) -> None:
        """Update in place.

        Args:
            vectors: parameters, first moment, second moment, (P,) each.
            gradient: (P,).
            coefficients: as `coefficients` returns them, () or (P,) each.
            due: (P,), 1 where the update counts and 0 where nothing changes; None: it counts everywhere.

        """


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1)."""

    eps: float
    width: ClassVar[int] = 2
    scaled: ClassVar[tuple[int, ...]] = (0,)

    def coefficients(self, learning_rate: float, count: int) -> tuple[float, ...]:
        """Bias-corrected step size and factor of the square root of the second moment."""
        return learning_rate / (1 - BETA1**count), (1 - BETA2**count) ** -0.5

    def apply(
        self,
        vectors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        gradient: torch.Tensor,
        coefficients: Sequence[torch.Tensor],
        due: torch.Tensor | None = None,
    ) -> None:
        flat, first_moment, second_moment = vectors
        rate, correction = coefficients[:2]
        if due is None:
            first_moment.lerp_(gradient, 1 - BETA1)
            second_moment.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        else:
            first_moment.add_(due * (1 - BETA1) * (gradient - first_moment))
            second_moment.add_(due * (1 - BETA2) * (gradient * gradient - second_moment))
            rate = due * rate
        flat.sub_(rate * first_moment / (second_moment.sqrt() * correction + self.eps))


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2)."""

    weight_decay: float
    width: ClassVar[int] = 3
    scaled: ClassVar[tuple[int, ...]] = (0, 2)

    def coefficients(self, learning_rate: float, count: int) -> tuple[float, ...]:
        """Those of Adam, and the share of each parameter that decays."""
        return *super().coefficients(learning_rate, count), learning_rate * self.weight_decay

    def apply(
        self,
        vectors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        gradient: torch.Tensor,
        coefficients: Sequence[torch.Tensor],
        due: torch.Tensor | None = None,
    ) -> None:
        flat, decay = vectors[0], coefficients[2]
        flat.sub_((decay if due is None else due * decay) * flat)
        super().apply(vectors, gradient, coefficients, due)


@dataclasses.dataclass(frozen=True)
class RMSProp:
    """Gradient divided by the root of its running mean square (Hinton 2012, lecture 6e), as in PyTorch."""

    eps: float
    alpha: float = 0.99
    width: ClassVar[int] = 1
    scaled: ClassVar[tuple[int, ...]] = (0,)

    def coefficients(self, learning_rate: float, count: int) -> tuple[float, ...]:
        """The step size."""
        return (learning_rate,)

    def apply(
        self,
        vectors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        gradient: torch.Tensor,
        coefficients: Sequence[torch.Tensor],
        due: torch.Tensor | None = None,
    ) -> None:
        flat, _, second_moment = vectors
        (rate,) = coefficients
        share = 1 - self.alpha if due is None else due * (1 - self.alpha)
        second_moment.add_(share * (gradient * gradient - second_moment))
        rate = rate if due is None else due * rate
        flat.sub_(rate * gradient / (second_moment.sqrt() + self.eps))


class Schedule:
    """The optimizer's numbers of each update, where some parameters learn faster or less often than others.

    Args:
        optimizer: of all parameters.
        layout: of the parameters.
        rate_factors: name of a parameter -> factor of its step size; 1 for the others.
        intervals: name of a parameter -> it changes in each of so many updates, from the first on; 1 for
            the others.

    """

    def __init__(
        self,
        optimizer: Optimizer,
        layout: FlatParams,
        rate_factors: Mapping[str, float],
        intervals: Mapping[str, int],
    ) -> None:
        self.optimizer, self.layout = optimizer, layout
        self.factors = {k: v for k, v in rate_factors.items() if v != 1.0}
        self.periods = sorted({1, *intervals.values()})
        self.period_of = {name: self.periods.index(every) for name, every in intervals.items()}
        several = len(self.periods) > 1
        self.each = (
            optimizer.width + several
        )  # numbers of a period: coefficients, whether it is due
        self.width = len(self.periods) * self.each

    def numbers(self, learning_rate: float, update: int) -> tuple[float, ...]:
        """The `width` numbers of an update. `update`: from 1."""
        if len(self.periods) == 1:
            return self.optimizer.coefficients(learning_rate, update)
        found: list[float] = []
        for period in self.periods:
            count, late = divmod(update - 1, period)
            found += self.optimizer.coefficients(learning_rate, count + 1)
            found.append(float(late == 0))
        return tuple(found)

    def apply(
        self,
        vectors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        gradient: torch.Tensor,
        numbers: Sequence[torch.Tensor],
    ) -> None:
        """Take the update with its `numbers`, as tensors ()."""
        values, due = list(numbers), None
        if len(self.periods) > 1:
            *values, due = (self._by_period(numbers[i :: self.each]) for i in range(self.each))
        if self.factors:
            for i in self.optimizer.scaled:
                values[i] = self._scaled(values[i])
        self.optimizer.apply(vectors, gradient, values, due)

    def _by_period(self, numbers: Sequence[torch.Tensor]) -> torch.Tensor:
        """The number of each parameter's period. -> (P,)."""
        sizes = zip(self.layout.shapes, self.layout.sizes, strict=True)
        return torch.cat([numbers[self.period_of.get(name, 0)].expand(n) for name, n in sizes])

    def _scaled(self, rate: torch.Tensor) -> torch.Tensor:
        """A rate, () or (P,), times the factor of each parameter. -> (P,)."""
        if rate.dim() == 0:
            return self.layout.per_parameter(rate, self.factors)
        return rate * self.layout.per_parameter(rate.new_ones(()), self.factors)
