"""Load a compiled step and compare it once with the function it was compiled from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rl_cli.engine.compiled_step import CompiledStep
from rl_cli.engine.functions import WRITTEN, Function, Runs, constants_argument, copied


def load_checked(
    library: Path,
    plain: Function,
    arguments: list[torch.Tensor],
    changing: Sequence[int],
    hoisted: Sequence[float] = (),
) -> Runs:
    """The library's function, if one run on copies of the arguments gives what `plain` gives.

    Raises:
        OSError, RuntimeError: the file is not a library of this kind, or its results differ, for
            example because it was compiled from code that the cache key does not cover.

    """
    expected_arguments, found_arguments = copied(arguments), copied(arguments)
    outputs = plain(*expected_arguments)
    fast = CompiledStep(library, arguments, outputs, changing, constants_argument(hoisted))
    runs = fast(*(t[None] if i in changing else t for i, t in enumerate(found_arguments)))
    expected = [*expected_arguments[1:WRITTEN], *outputs]
    found = [*found_arguments[1:WRITTEN], *map(_first_row, runs)]
    if changing:  # a step, which has moved the parameters
        # where the gradient is almost 0, Adam's step is as large as its rounding error
        compared = expected_arguments[2] > 1e-4 * expected_arguments[2].max()
        expected.append((expected_arguments[0] - arguments[0])[compared])
        found.append((found_arguments[0] - arguments[0])[compared])
    if not all(map(_close, expected, found)):
        raise RuntimeError("the compiled step differs from the plain one")
    return fast


def _first_row(outputs: np.ndarray | torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(outputs[0])


def _close(expected: torch.Tensor, found: torch.Tensor) -> bool:
    """Equal within a thousandth of the largest entry, or both not finite."""
    if not bool(expected.isfinite().all()):
        return not bool(found.isfinite().all())
    size = float(expected.abs().max()) if expected.numel() else 0.0
    return bool(((expected - found).abs() <= 1e-3 * size + 1e-6).all())
