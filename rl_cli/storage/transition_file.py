"""A safetensors file of transitions, one row per step, that pre-fills a replay buffer.

obs (R, *obs_shape)   action (R, *action_shape)   reward (R,)   next_obs   terminated (R,)   truncated (R,)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy

from rl_cli.core.errors import BadInput
from rl_cli.core.memory import limit
from rl_cli.core.obs_layout import layout_of
from rl_cli.core.start_folder import absolute
from rl_cli.core.types import EnvSpec, Transition
from rl_cli.storage.atomic_files import storing, write_atomic
from rl_cli.storage.untrusted import read as read_plain

MAX_HEADER_BYTES = 1 << 16


def write(path: Path, rows: Transition) -> None:
    """Write transitions atomically, creating the folder. Raises StorageError."""
    arrays = {name: np.ascontiguousarray(column) for name, column in rows._asdict().items()}
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, safetensors.numpy.save(arrays))


def read(path: Path, spec: EnvSpec, key: str) -> Transition:
    """Read transitions from an untrusted file and check them against an env.

    Args:
        path: of the file.
        spec: of the env that the transitions should be of.
        key: the configuration key that names the file, for the error message.

    Raises:
        BadInput: the file is missing, not a file of transitions, or of another env.

    """
    try:
        data = read_plain(absolute(path), limit() // 4)
        if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
            raise ValueError("the header is too large")
        rows = _checked(safetensors.numpy.load(data), spec)
    except OSError as error:
        raise BadInput(error.strerror or str(error), f"{key}={path}", HINT) from None
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"not transitions of this env: {reason}", f"{key}={path}", HINT) from None
    return _truncate_last(rows)


def _truncate_last(rows: Transition) -> Transition:
    """Mark the last row as truncated, because the next row in the buffer is of another episode."""
    truncated = rows.truncated.copy()
    truncated[-1] |= not rows.terminated[-1]
    return rows._replace(truncated=truncated)


HINT = "record transitions with the same env settings: rl-play env=<name> record=true"


def _checked(arrays: dict[str, np.ndarray], spec: EnvSpec) -> Transition:
    """Check names, shapes, dtypes and ranges. Raises ValueError with a short reason."""
    action = np.dtype(spec.action.dtype)
    expected = {
        "obs": (spec.obs_shape, np.dtype(spec.obs_dtype)),
        "action": (spec.action.shape, action),
        "reward": ((), np.dtype(np.float32)),
        "next_obs": (spec.obs_shape, np.dtype(spec.obs_dtype)),
        "terminated": ((), np.dtype(bool)),
        "truncated": ((), np.dtype(bool)),
    }
    if arrays.keys() != expected.keys():
        raise ValueError(f"it contains {', '.join(sorted(arrays))[:80] or 'nothing'}")
    rows = Transition(**arrays)
    count = len(rows.reward) if rows.reward.ndim else 0
    layout = layout_of(spec)
    for name, (shape, dtype) in expected.items():
        found = arrays[name]
        if found.shape != (count, *shape) or found.dtype != dtype or count == 0:
            raise ValueError(
                f"{name} is {found.dtype} {found.shape}, not {dtype} {('rows', *shape)}"
            )
        if name in ("obs", "next_obs") and layout is not None:
            found = layout.as_floats(found)
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{name} is not finite")
    if not spec.action.contains(rows.action):
        raise ValueError(f"an action is not one of {list(spec.action.sizes)}")
    return rows
