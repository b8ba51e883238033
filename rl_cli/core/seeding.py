# ruff: noqa: NPY002 - envs draw from NumPy's legacy generator; here it is seeded and restored
"""Independent random streams from one seed, one for each named consumer.

Switching evaluation or video on or off therefore does not change the draws of exploration or replay.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rl_cli.core.fields import Fields, StateError

if TYPE_CHECKING:
    import torch


def stream(seed: int, name: str) -> np.random.Generator:
    """The stream `name` of a run. Equal arguments give equal streams, others independent ones."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def torch_generator(seed: int, name: str) -> torch.Generator:
    """The same for torch. Used for initial weights; all other draws are numpy's."""
    import torch

    return torch.Generator().manual_seed(int(stream(seed, name).integers(2**63)))


def env_seeds(seed: int, num_envs: int) -> list[int]:
    """Seed of the first reset of each training env."""
    return [int(s) for s in stream(seed, "env").integers(2**31, size=num_envs)]


def episode_seed(first: int, number: int) -> int:
    """Seed of an env's reset number 1, 2, ...; `first` is the seed of its reset number 0."""
    return int(np.random.default_rng([first, number]).integers(2**31))


def draw_seed(first: int, number: int) -> int:
    """Seed of what an env draws from besides its own generator, in episode `number`; 32 bits.

    `first` is the seed of the env's reset number 0. A checksum, which takes a hundredth of the time of
    `episode_seed`.
    """
    return zlib.crc32(b"%d %d" % (first, number))


def seed_globals(seed: int) -> None:
    """Seed the generators of this process, `random` and `np.random`, which some envs draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


def globals_drawn_since(seed: int) -> bool:
    """Whether anything was drawn from the generators of this process since `seed_globals(seed)`."""
    with globals_kept():
        now = _globals_state()
        seed_globals(seed)
        return now != _globals_state()


@contextmanager
def globals_kept() -> Iterator[None]:
    """Restore the generators of this process after the body."""
    python, legacy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def _globals_state() -> list[Any]:
    kind, key, *position = cast(Any, np.random.get_state(legacy=True))
    return [random.getstate(), kind, key.tobytes(), *position]


def rng_state(rng: np.random.Generator) -> dict[str, object]:
    """State of a stream, serializable as JSON."""
    return dict(rng.bit_generator.state)


def set_rng_state(rng: np.random.Generator, state: dict[str, object]) -> None:
    """Restore a state that `rng_state` returned.

    Raises:
        StateError: it is not a state of this kind of generator.

    """
    rng.bit_generator.state = checked_rng_state(state, type(rng.bit_generator).__name__)


def checked_rng_state(state: object, kind: str = "PCG64", path: str = "rng") -> dict[str, object]:
    """A generator's state, with the values that the generator can have.

    Args:
        state: to check.
        kind: class of the bit generator; only states of PCG64 are checked in detail, numpy's own
            setter checks the others.
        path: place of the state, for messages.

    Raises:
        StateError: a value is missing or out of range.

    """
    fields = Fields(state, path)
    if fields.get("bit_generator") != kind:
        raise StateError(f"{fields.name('bit_generator')} is not {kind}")
    if kind != "PCG64":
        return dict(fields.state)
    inner = fields.part("state")
    values = {name: inner.integer(name, 0, 2**128 - 1) for name in ("state", "inc")}
    if values["inc"] % 2 == 0:  # the period of the generator would be shorter
        raise StateError(f"{inner.name('inc')} is even")
    return {
        "bit_generator": kind,
        "state": values,
        "has_uint32": fields.integer("has_uint32", 0, 1),
        "uinteger": fields.integer("uinteger", 0, 2**32 - 1),
    }
