"""One seed, many independent streams: each consumer of chance draws from its own by name.

So switching evaluation or video on or off cannot shift what exploration or replay draw.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream(seed: int, name: str) -> np.random.Generator:
    """The stream `name` of a run: equal for equal arguments, independent otherwise."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def torch_generator(seed: int, name: str) -> torch.Generator:
    """The same for torch; used for initial weights only, everything later is numpy's."""
    import torch

    return torch.Generator().manual_seed(int(stream(seed, name).integers(2**63)))


def env_seeds(seed: int, num_envs: int) -> list[int]:
    """Seed of the first reset of each training env."""
    return [int(s) for s in stream(seed, "env").integers(2**31, size=num_envs)]


def episode_seed(first: int, number: int) -> int:
    """Seed of an env's reset number `number` = 1, 2, ...; `first`: that of its reset number 0."""
    return int(np.random.default_rng([first, number]).integers(2**31))


def rng_state(rng: np.random.Generator) -> dict[str, object]:
    """Position of a stream, as plain JSON."""
    return dict(rng.bit_generator.state)


def set_rng_state(rng: np.random.Generator, state: dict[str, object]) -> None:
    """Put a stream back where `rng_state` found it.

    Raises:
        ValueError, KeyError, TypeError: the state is not one of this kind of generator.

    """
    rng.bit_generator.state = state
