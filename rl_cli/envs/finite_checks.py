"""Checks that rewards and observations are finite, and stay finite in float32."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rl_cli.core.errors import NonFinite
from rl_cli.core.obs_layout import layout_of
from rl_cli.core.types import EnvSpec
from rl_cli.envs.normalization import SCALAR_PATH_MAX

FIX = "fix the env, or wrap it to clip or replace the value"

FIX_LARGE = "scale the reward in the env"

REWARD_LIMIT = 1e32
"""Largest absolute reward. float32 ends at 3.4e38: a sum of a million such rewards is finite in it."""

FLOAT32_MAX = float(np.finfo(np.float32).max)

SQUARE_LIMIT = FLOAT32_MAX**2

# a sum of squares that overflows is no fault: the values are then looked at one by one
warnings.filterwarnings("ignore", "overflow", RuntimeWarning, re.escape(__name__))

Locate = Callable[[int, np.ndarray | None], str]
"""(env index, its action or None at a reset) -> where the value came from, for the error message."""


class FiniteChecks:
    """Finds non-finite values before they enter the buffer or the running statistics.

    The common case costs one sum: a sum over all values is finite only if each of them is. Only a
    non-finite sum, which may also be an overflow, is followed by a search for the value. Observations in
    float64 must be finite in float32 too.

    Args:
        spec: of the envs; uint8 values are always finite and are not checked.
        dtype: of the observations, before normalization.

    """

    def __init__(self, spec: EnvSpec, dtype: np.dtype[Any]) -> None:
        self.layout = layout_of(spec)
        floats = spec.obs_dtype == "float32" or (self.layout is not None and self.layout.floats)
        self.skip_obs = not floats
        one_row = dtype == np.float32 and spec.num_envs == 1
        self.scalar_path = one_row and math.prod(spec.obs_shape) <= SCALAR_PATH_MAX

    def check_step(
        self,
        obs: np.ndarray,
        rewards: np.ndarray,
        magnitude: float,
        actions: np.ndarray,
        locate: Locate,
    ) -> None:
        """Check the results of a step of n envs.

        Args:
            obs: observations before normalization, (n, *obs_shape).
            rewards: (n,) float64.
            magnitude: the sum of their absolute values.
            actions: (n, *action_shape), for the error message.
            locate: for the error message.

        Raises:
            NonFinite: names the env, its step and its action.

        """
        if magnitude <= REWARD_LIMIT:
            if self.skip_obs or (self.scalar_path and math.isfinite(sum(obs.tolist()[0]))):
                return
            flat = (obs if self.layout is None else self.layout.as_floats(obs)).ravel()
            if float(flat.dot(flat)) <= SQUARE_LIMIT:
                return
        for i, reward in enumerate(rewards.tolist()):
            check_reward(reward, lambda: locate(i, actions[i]))  # noqa: B023
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
        if self.layout is not None:
            obs = self.layout.as_floats(obs)
        if self.skip_obs or is_finite(obs):
            return
        row = next(r for r, o in enumerate(obs) if not is_finite(o))
        where = locate(env_ids[row], None if actions is None else actions[row])
        index = int(np.argmin(np.abs(obs[row].ravel()) <= FLOAT32_MAX))
        value = obs[row].ravel()[index]
        place = str(index) if self.layout is None else self.layout.name_of(index)
        raise NonFinite(f"the env returned an observation with {value} at {place}", where, FIX)


def check_reward(reward: float, where: Callable[[], str]) -> None:
    """Raise NonFinite for a reward that is not finite, or whose sums would not be in float32."""
    if abs(reward) <= REWARD_LIMIT:
        return
    if math.isfinite(reward):
        why = f", above {REWARD_LIMIT:g}: sums of such rewards overflow float32"
        raise NonFinite(f"the env returned a reward of {reward:g}{why}", where(), FIX_LARGE)
    raise NonFinite(f"the env returned a reward of {reward}", where(), FIX)


def is_finite(array: np.ndarray) -> bool:
    """Whether every value of an array of any shape is finite in float32. A sum of squares that overflows is checked by value."""
    flat = array.ravel()
    return float(flat.dot(flat)) <= SQUARE_LIMIT or bool((np.abs(flat) <= FLOAT32_MAX).all())
