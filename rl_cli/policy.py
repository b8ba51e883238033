"""A policy as named arrays: what a checkpoint's policy file holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rl_cli.algos.base import Algorithm
from rl_cli.normalization import ObservationNormalizer

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
