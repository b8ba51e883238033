"""Flatten the inputs of a loss to a list of tensors, and rebuild them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from rl_cli.core.types import Rows


class Part(NamedTuple):
    """Structure of one input."""

    kind: type  # float, Tensor, Rows, or the type of the NamedTuple
    table: type | None  # for Rows: the type of the table
    tensors: int  # how many tensors it flattens to


Structure = tuple[Part, ...]


class Flat(NamedTuple):
    """Flattened inputs."""

    structure: Structure
    tensors: list[torch.Tensor]
    numbers: list[int]  # indices of the inputs that are numbers
    positions: int | None  # index of the tensor that holds the positions of `Rows`


def flatten(inputs: Sequence[object]) -> Flat:
    """Flatten tensors, NamedTuples of tensors, numbers and at most one `Rows`."""
    structure, tensors, numbers, positions = [], [], [], None
    for index, value in enumerate(inputs):
        if isinstance(value, torch.Tensor):
            structure.append(Part(torch.Tensor, None, 1))
            tensors.append(value)
        elif isinstance(value, Rows):
            structure.append(Part(Rows, type(value.table), 1 + len(value.table)))
            positions = len(tensors)
            tensors += [value.positions, *value.table]
        elif isinstance(value, tuple):
            structure.append(Part(type(value), None, len(value)))
            tensors += value
        else:
            structure.append(Part(float, None, 0))
            numbers.append(index)
    return Flat(tuple(structure), tensors, numbers, positions)


def unflatten(
    structure: Structure,
    tensors: Sequence[torch.Tensor],
    numbers: Sequence[torch.Tensor],
    device: torch.device,
) -> list[Any]:
    """Rebuild the inputs for the loss: `Rows` are gathered, numbers are tensors ()."""
    inputs: list[Any] = []
    left, scalars = list(tensors), iter(numbers)
    for kind, table, count in structure:
        own, left = left[:count], left[count:]
        if kind is float:
            inputs.append(next(scalars))
        elif kind is torch.Tensor:
            inputs.append(own[0])
        elif table is not None:
            positions, *columns = own
            inputs.append(Rows(table(*columns), positions).gather(device))
        else:
            inputs.append(kind(*own))
    return inputs
