"""The memory check of buffers; it imports no torch, so that too large a buffer is refused at once."""

from __future__ import annotations

import math

import numpy as np

from rl_cli.buffers.columns import row_bytes
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.core import memory
from rl_cli.core.types import EnvSpec

PRIORITY_BYTES = 13
"""Of each row of prioritized replay: its priority, its leaf, its share of the sum tree's nodes."""


def priority_bytes(spec: EnvSpec, is_sorted: bool) -> int:
    """Bytes of each row of prioritized replay, besides its columns.

    Sorting temporarily copies a column.
    """
    copied = math.prod(spec.obs_shape) * np.dtype(spec.obs_dtype).itemsize if is_sorted else 0
    return PRIORITY_BYTES + copied


def require_memory(cfg: AlgoConfig, spec: EnvSpec) -> None:
    """Refuse a buffer that does not fit in memory.

    Raises:
        BadInput: names the key and the largest value that fits.

    """
    wanted = cfg.buffer_memory(spec)
    if wanted is None:
        return
    each = row_bytes(spec, wanted.row)
    if wanted.prioritized:
        each += priority_bytes(spec, wanted.is_sorted)
    memory.require(wanted.key, wanted.value, wanted.rows * each)
