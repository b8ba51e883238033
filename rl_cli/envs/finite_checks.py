"""Checks that rewards and observations contain no NaN and no infinity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from rl_cli.core.errors import NonFinite
from rl_cli.core.types import EnvSpec
from rl_cli.envs.normalization import SCALAR_PATH_MAX

FIX = "fix the env, or wrap it to clip or replace the value"

Locate = Callable[[int, np.ndarray | None], str]
"""(env index, its action or None at a reset) -> where the value came from, for the error message."""


class FiniteChecks:
    """Finds non-finite values before they enter the buffer or the running statistics.

    The common case costs one sum: a sum over all values is finite only if each of them is. Only a
    non-finite sum, which may also be an overflow, is followed by a search for the value.

    Args:
        spec: of the envs; uint8 observations are always finite and are not checked.

    """

    def __init__(self, spec: EnvSpec) -> None:
        self.skip_obs = spec.obs_dtype == "uint8"
        one_row = not self.skip_obs and spec.num_envs == 1
        self.scalar_path = one_row and math.prod(spec.obs_shape) <= SCALAR_PATH_MAX

    def check_step(
        self,
        obs: np.ndarray,
        rewards: np.ndarray,
        reward_sum: float,
        actions: np.ndarray,
        locate: Locate,
    ) -> None:
        """Check the results of a step of n envs.

        Args:
            obs: observations before normalization, (n, *obs_shape).
            rewards: (n,) float64.
            reward_sum: their sum.
            actions: (n, *action_shape), for the error message.
            locate: for the error message.

        Raises:
            NonFinite: names the env, its step and its action.

        """
        if self.scalar_path and math.isfinite(reward_sum + sum(obs.tolist()[0])):
            return
        flat = obs.ravel()
        if math.isfinite(reward_sum if self.skip_obs else reward_sum + flat.dot(flat)):
            return
        if not is_finite(rewards):
            i = int(np.argmin(np.isfinite(rewards)))
            where = locate(i, actions[i])
            raise NonFinite(f"the env returned a reward of {rewards[i]}", where, FIX)
        self.check_obs(obs, range(len(obs)), locate, actions)

    def check_obs(
        self,
        obs: np.ndarray,
        env_ids: Sequence[int],
        locate: Locate,
        actions: np.ndarray | None = None,
    ) -> None:
        """Check observations.

        Args:
            obs: (n, *obs_shape), before normalization.
            env_ids: index of the env of each row.
            locate: for the error message.
            actions: that led to the observations, (n, *action_shape); None after a reset.

        Raises:
            NonFinite: names the env and the index of the value in its observation.

        """
        if self.skip_obs or is_finite(obs):
            return
        row = next(r for r, o in enumerate(obs) if not np.isfinite(o).all())
        _refuse(obs[row], locate(env_ids[row], None if actions is None else actions[row]))


def is_finite(array: np.ndarray) -> bool:
    """Whether every value is finite. A sum of squares that overflows is checked value by value."""
    flat = array.ravel()
    return math.isfinite(flat.dot(flat)) or bool(np.isfinite(flat).all())


def _refuse(obs: np.ndarray, where: str) -> NoReturn:
    flat = obs.ravel()
    index = int(np.argmin(np.isfinite(flat)))
    raise NonFinite(f"the env returned an observation with {flat[index]} at {index}", where, FIX)
