"""Functions of flat lists of tensors, the form in which steps are traced and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from rl_cli.core.types import Metrics

Function = Callable[..., "list[torch.Tensor]"]
"""One run: tensors in, float32 tensors out. May write in place to its first `WRITTEN` arguments."""

Runs = Callable[..., "Sequence[torch.Tensor] | Sequence[np.ndarray]"]
"""K runs of a `Function` in one call: outputs (K, ...). See `eager_loop`."""

Compiler = Callable[[Function, "list[torch.Tensor]", "Sequence[int]"], "Runs | None"]
"""compiler(function, arguments, changing) -> the same as `eager_loop(function, changing)`, faster.

None: it cannot be compiled. The compiler may call the function with copies of the first `WRITTEN`
arguments. Raises UpdateInterrupted if a signal stops the run while it compiles.
"""

WRITTEN = 3
"""Arguments a step writes to: the parameters and Adam's two moments."""


def eager_loop(function: Function, changing: Sequence[int]) -> Runs:
    """K runs of a function one after the other, in Python.

    Args:
        function: one run.
        changing: indices of the arguments that have a leading axis (K, ...), one row per run; with
            none there is one run.

    Returns:
        A function of the arguments that returns each output stacked, (K, ...).

    """

    def run(*arguments: torch.Tensor) -> list[torch.Tensor]:
        outputs = [
            function(*(t[k] if i in changing else t for i, t in enumerate(arguments)))
            for k in range(len(arguments[changing[0]]) if changing else 1)
        ]
        return [torch.stack(column) for column in zip(*outputs, strict=True)]

    return run


def copied(arguments: list[torch.Tensor]) -> list[torch.Tensor]:
    """The arguments, with copies in place of those that a step writes to."""
    return [*(a.clone() for a in arguments[:WRITTEN]), *arguments[WRITTEN:]]


def constants_argument(values: Sequence[float]) -> list[torch.Tensor]:
    """The argument that holds hoisted constants, (K,); no argument if there are none."""
    return [torch.tensor(values)] if values else []


def joined(history: Sequence[Metrics]) -> Metrics:
    """The metrics of several calls of `update` as if of one."""
    if len(history) == 1:
        return history[0]
    names, on_host = history[0], isinstance(history[0]["loss"], np.ndarray)
    join: Callable[..., Any] = np.concatenate if on_host else torch.cat
    return {name: join([metrics[name] for metrics in history]) for name in names}
