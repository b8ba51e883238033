"""A policy as named arrays: the content of a checkpoint's policy.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rl_cli.core.errors import BadInput
from rl_cli.core.types import Arrays, EnvSpec, Params
from rl_cli.envs.normalization import ObservationNormalizer
from rl_cli.storage import manifest

if TYPE_CHECKING:
    import torch

SMALL = 1 << 24
"""Bytes of weights below which the size is not compared: the reader of the file reports more."""

NORMALIZER = "obs_normalizer."


class PolicyOwner(Protocol):
    """An algorithm, as far as its weights are concerned."""

    def policy_state(self) -> Params: ...

    def load_policy(self, params: Mapping[str, torch.Tensor]) -> None: ...


class AlgorithmClass(Protocol):
    """An algorithm's class, as far as the size of its networks is concerned."""

    @property
    def supports(self) -> tuple[str, ...]: ...

    def size(self, cfg: Any, spec: EnvSpec) -> int: ...


def refuse_other_sizes(
    algo_cls: AlgorithmClass, cfg: Any, spec: EnvSpec, checkpoints: list[Path]
) -> None:
    """Refuse a configuration whose networks are larger than every checkpoint's policy file.

    Otherwise an edited configuration of a few bytes could allocate gigabytes of weights.

    Raises:
        BadInput: the networks have more numbers than each of the checkpoints has.

    """
    if spec.action.kind not in algo_cls.supports:
        return  # `make_algorithm` reports it
    files = [folder / manifest.POLICY for folder in checkpoints]
    largest = max((path.lstat().st_size for path in files if path.is_file()), default=0)
    available = min(largest, manifest.MAX_POLICY_BYTES)
    size = algo_cls.size(cfg, spec)
    if 4 * size > max(available, SMALL):
        raise BadInput(
            f"the weights are not of these networks: {size:,} numbers, and the file has "
            f"{available:,} bytes",
            str(files[-1]),
            "restore the checkpoint from its source",
        )


def policy_arrays(algo: PolicyOwner, normalizer: ObservationNormalizer | None) -> Arrays:
    """Weights and observation statistics under their names in a checkpoint."""
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
    arrays: Arrays, algo: PolicyOwner, normalizer: ObservationNormalizer | None
) -> None:
    """The inverse of `policy_arrays`: load weights and statistics into `algo` and `normalizer`.

    Raises:
        ValueError: names, shapes or dtypes are not those of this algorithm and env.

    """
    import torch

    weights = {k: v for k, v in arrays.items() if not k.startswith(NORMALIZER)}
    for name, array in weights.items():
        if array.dtype != np.float32:
            raise ValueError(f"{name} should be float32, found {array.dtype}")
    algo.load_policy({name: torch.from_numpy(array) for name, array in weights.items()})
    if normalizer is not None:
        try:
            mean, variance, count = (arrays[NORMALIZER + k] for k in ("mean", "variance", "count"))
        except KeyError as error:
            raise ValueError(f"{error.args[0]} is missing") from None
        if count.shape != () or not (count > 0 and (variance >= 0).all()):
            raise ValueError("the observation statistics are invalid")
        normalizer.moments.load_state_dict(
            {"mean": mean, "variance": variance, "count": float(count)}
        )
