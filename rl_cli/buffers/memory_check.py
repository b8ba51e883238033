"""The memory check of buffers; it imports no torch, so that too large a buffer is refused at once."""

from __future__ import annotations

from rl_cli.buffers.columns import Row, field_bytes, row_bytes
from rl_cli.config.algorithm import AlgoConfig, BufferMemory
from rl_cli.core import memory
from rl_cli.core.types import EnvSpec, Transition

EXTRA = 64
"""A frame pool has one frame per row and an extra one per 64 rows; with shorter episodes it grows."""

STACKED = ("obs", "next_obs")
"""Fields that hold frame indices in a frame pool."""

PRIORITY_BYTES = 13
"""Of each row of prioritized replay: its priority, its leaf, its share of the sum tree's nodes."""


def bytes_of_row(spec: EnvSpec, row: Row) -> int:
    """Memory of a row, in bytes."""
    return frame_row_bytes(spec, row) if spec.frame_channels else row_bytes(spec, row)


def reorder_bytes(spec: EnvSpec) -> int:
    """Bytes of a row of the largest column, which `reorder` copies."""
    depth = spec.obs_shape[0] // spec.frame_channels if spec.frame_channels else 0
    return 4 * depth or field_bytes("obs", spec)


def frame_row_bytes(spec: EnvSpec, row: Row = Transition) -> int:
    """Bytes of one transition of one env, if an episode has `EXTRA` steps or more."""
    depth = spec.obs_shape[0] // spec.frame_channels
    frame = field_bytes("obs", spec) // depth + 4  # with its reference count
    others = sum(field_bytes(name, spec) for name in row._fields if name not in STACKED)
    return frame + -(-frame // EXTRA) + 2 * 4 * depth + others


def priority_bytes(spec: EnvSpec, is_sorted: bool) -> int:
    """Bytes of each row of prioritized replay, besides its columns."""
    return PRIORITY_BYTES + (reorder_bytes(spec) if is_sorted else 0)


def buffer_bytes(cfg: AlgoConfig, spec: EnvSpec) -> int | None:
    """Memory of the whole buffer; None: its size is not fixed in advance."""
    wanted = cfg.buffer_memory(spec)
    return None if wanted is None else wanted.value * _unit_bytes(wanted, spec)


def require_memory(cfg: AlgoConfig, spec: EnvSpec) -> None:
    """Refuse a buffer that does not fit in memory.

    Raises:
        BadInput: names the key and the largest value that fits.

    """
    wanted = cfg.buffer_memory(spec)
    if wanted is not None:
        memory.require(wanted.key, wanted.value, _unit_bytes(wanted, spec))


def _unit_bytes(wanted: BufferMemory, spec: EnvSpec) -> int:
    """Bytes of each unit of the buffer's size."""
    each = bytes_of_row(spec, wanted.row)
    if wanted.prioritized:
        each += priority_bytes(spec, wanted.is_sorted)
    return wanted.rows * each
