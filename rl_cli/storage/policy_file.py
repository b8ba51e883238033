"""A policy as named arrays: what a checkpoint's policy file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.storage import manifest

HARMLESS = 1 << 24
"""Bytes of weights that may be asked for anyhow; what reads the file has more to say of it."""


def refuse_other_sizes(
    algo_cls: type[Algorithm[Any]], cfg: AlgoConfig, spec: EnvSpec, checkpoints: list[Path]
) -> None:
    """A few bytes of text must not ask for gigabytes of network, of which no checkpoint has any.

    Raises:
        BadInput: the networks have more numbers than there are in each of the checkpoints.

    """
    if spec.action.kind not in algo_cls.supports:
        return  # of which `make_algorithm` tells
    files = [folder / manifest.POLICY for folder in checkpoints]
    largest = max((path.lstat().st_size for path in files if path.is_file()), default=0)
    there = min(largest, manifest.MAX_POLICY_BYTES)
    size = algo_cls.size(cfg, spec)
    if 4 * size > max(there, HARMLESS):
        raise BadInput(
            f"the weights are not of these networks: {size:,} numbers, and {there:,} bytes are there",
            str(files[-1]),
            "get the checkpoint anew",
        )


Arrays = dict[str, np.ndarray]

NORMALIZER = "obs_normalizer."


def policy_arrays(algo: Algorithm[Any], normalizer: ObservationNormalizer | None) -> Arrays:
    """Weights and observation statistics under the names a checkpoint gives them."""
    arrays = {name: value.numpy() for name, value in algo.policy_state().items()}
    if normalizer is not None:
        moments = normalizer.moments
        arrays |= {
            f"{NORMALIZER}mean": moments.mean,
            f"{NORMALIZER}variance": moments.variance,
            f"{NORMALIZER}count": np.array(moments.count),
        }
    return arrays


def load_policy_arrays(
    arrays: Arrays, algo: Algorithm[Any], normalizer: ObservationNormalizer | None
) -> None:
    """The inverse of `policy_arrays`.

    Raises:
        ValueError: names or shapes are not those of this algorithm and env.

    """
    own = {k: v for k, v in arrays.items() if not k.startswith(NORMALIZER)}
    for name, array in own.items():
        if array.dtype != np.float32:
            raise ValueError(f"{name} should be float32, found {array.dtype}")
    algo.load_policy({name: torch.from_numpy(array) for name, array in own.items()})
    if normalizer is not None:
        try:
            mean, variance, count = (arrays[NORMALIZER + k] for k in ("mean", "variance", "count"))
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None
        if count.shape != () or not (count > 0 and (variance >= 0).all()):
            raise ValueError("the observation statistics are none")
        normalizer.moments.load_state_dict(
            {"mean": mean, "variance": variance, "count": float(count)}
        )
