"""Transitions in a file: arrays of safetensors, one row a step, for a replay buffer to begin with.

obs (R, *obs_shape)   action (R, *action_shape)   reward (R,)   next_obs   terminated (R,)   truncated (R,)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy

from rl_cli.core.errors import BadInput
from rl_cli.core.memory import limit
from rl_cli.core.types import EnvSpec, Transition
from rl_cli.storage.atomic_files import storing, write_atomic
from rl_cli.storage.untrusted import read as read_plain

MAX_HEADER_BYTES = 1 << 16


def write(path: Path, rows: Transition) -> None:
    """Write a file whole. Raises StorageError."""
    arrays = {name: np.ascontiguousarray(column) for name, column in rows._asdict().items()}
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, safetensors.numpy.save(arrays))


def read(path: Path, spec: EnvSpec, key: str) -> Transition:
    """The rows of a file that somebody else may have made, checked against an env.

    Args:
        path: of the file.
        spec: of the env whose transitions they are to be.
        key: that named the file, for the error.

    Raises:
        BadInput: there is no such file, it is no such file, or its rows are of another env.

    """
    try:
        data = read_plain(path, limit() // 4)
        if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
            raise ValueError("a header that is too large")
        rows = _checked(safetensors.numpy.load(data), spec)
    except OSError as error:
        raise BadInput(error.strerror or str(error), f"{key}={path}", HINT) from None
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        told = str(error).splitlines()[0]
        raise BadInput(f"not transitions of this env: {told}", f"{key}={path}", HINT) from None
    return _cut_off(rows)


def _cut_off(rows: Transition) -> Transition:
    """The last episode ends with the file: what comes after it is another one."""
    truncated = rows.truncated.copy()
    truncated[-1] |= not rows.terminated[-1]
    return rows._replace(truncated=truncated)


HINT = "record some in an env with the same settings: rl-play env=<name> record=true"


def _checked(arrays: dict[str, np.ndarray], spec: EnvSpec) -> Transition:
    """Raises ValueError with half a line of why."""
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
        raise ValueError(f"it holds {', '.join(sorted(arrays))[:80] or 'nothing'}")
    rows = Transition(**arrays)
    count = len(rows.reward) if rows.reward.ndim else 0
    for name, (shape, dtype) in expected.items():
        found = arrays[name]
        if found.shape != (count, *shape) or found.dtype != dtype or count == 0:
            raise ValueError(
                f"{name} is {found.dtype} {found.shape}, not {dtype} {('rows', *shape)}"
            )
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{name} is not finite")
    if spec.action.sizes and not ((rows.action >= 0) & (rows.action < spec.action.sizes)).all():
        raise ValueError(f"an action is not one of {list(spec.action.sizes)}")
    return rows
