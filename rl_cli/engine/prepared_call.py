"""An update with its inputs flattened, so that the next update with the same tensors is cheap."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from rl_cli.engine.functions import Runs


@dataclasses.dataclass
class PreparedCall:
    """Arguments of a step, reused while the inputs are the same objects."""

    inputs: tuple[object, ...]
    numbers: list[int]  # indices of the inputs that are numbers
    scalars: np.ndarray  # (K, n + numbers) float32: the optimizer's numbers and the inputs that are numbers, of each update
    scalars_index: int  # index of the scalars among the arguments
    arguments: list[torch.Tensor]
    function: Runs

    def fits(self, inputs: tuple[object, ...]) -> bool:
        """Whether the inputs are the same objects, apart from the values of numbers."""
        pairs = zip(inputs, self.inputs, strict=True)
        return len(inputs) == len(self.inputs) and all(
            a is b or type(a) is type(b) is float for a, b in pairs
        )
