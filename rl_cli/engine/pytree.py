"""What a loss is given, as a flat list of tensors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from rl_cli.core.types import Rows


class Part(NamedTuple):
    """How one input of a loss was taken apart."""

    kind: type  # float, Tensor, Rows, or the tuple's own type
    table: type | None  # of Rows: the tuple's type
    tensors: int


Form = tuple[Part, ...]


def take_apart(
    inputs: Sequence[object],
) -> tuple[Form, list[torch.Tensor], list[int], int | None]:
    """-> how, the tensors, which inputs are numbers, which tensor holds the positions of drawn rows."""
    form, tensors, numbers, drawn = [], [], [], None
    for place, value in enumerate(inputs):
        if isinstance(value, torch.Tensor):
            form.append(Part(torch.Tensor, None, 1))
            tensors.append(value)
        elif isinstance(value, Rows):
            form.append(Part(Rows, type(value.table), 1 + len(value.table)))
            drawn = len(tensors)
            tensors += [value.positions, *value.table]
        elif isinstance(value, tuple):
            form.append(Part(type(value), None, len(value)))
            tensors += value
        else:
            form.append(Part(float, None, 0))
            numbers.append(place)
    return tuple(form), tensors, numbers, drawn


def put_together(
    form: Form,
    tensors: Sequence[torch.Tensor],
    numbers: Sequence[torch.Tensor],
    device: torch.device,
) -> list[Any]:
    """The inputs as the loss wants them: rows gathered, numbers as tensors ()."""
    inputs: list[Any] = []
    left, scalars = list(tensors), iter(numbers)
    for kind, table, count in form:
        mine, left = left[:count], left[count:]
        if kind is float:
            inputs.append(next(scalars))
        elif kind is torch.Tensor:
            inputs.append(mine[0])
        elif table is not None:
            positions, *columns = mine
            inputs.append(Rows(table(*columns), positions).gather(device))
        else:
            inputs.append(kind(*mine))
    return inputs
