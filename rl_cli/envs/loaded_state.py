"""The part of a checkpoint's state that belongs to the envs, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl_cli.core.fields import COUNT, Fields, StateError, array, integer
from rl_cli.core.obs_layout import layout_of
from rl_cli.core.seeding import checked_rng_state
from rl_cli.core.types import EnvSpec, State

MAX_SEED = 2**63 - 1

OTHERS = ["MT19937", "PCG64DXSM", "Philox", "SFC64"]
"""Other generators of numpy; their own setters check a state. A list: a name may be of any type."""

MAX_RETURN = 1e300
"""Bound of the sums of rewards of the current episodes."""


class LoadedEnvs:
    """What `VectorEnv.state_dict` returned, with values that envs of this spec can have.

    Args:
        state: what was returned.
        spec: of the envs.
        raw_dtype: of observations before normalization; earlier versions saved them as float32.

    Raises:
        StateError: names the first value that is not possible.

    """

    def __init__(self, state: State, spec: EnvSpec, raw_dtype: np.dtype[Any]) -> None:
        self.fields, self.spec = Fields(state), spec
        n = spec.num_envs
        begun = self.fields.items("begun", n)
        self.start_states = [_start_state(s, f"begun.{i}") for i, s in enumerate(begun)]
        numbers = self.fields.items("numbers", n, default=[0] * n)
        order = self.fields.items("order", n, default=list(range(n)))
        self.order = [integer(v, f"order.{i}", 0, n - 1) for i, v in enumerate(order)]
        if len(set(self.order)) < n:
            raise StateError("order has an env twice")
        self.numbers = [integer(v, f"numbers.{i}") for i, v in enumerate(numbers)]
        rows = self.fields.items("actions", n)
        self.actions = [self._actions(v, f"actions.{i}") for i, v in enumerate(rows)]
        is_early = getattr(self.fields.get("raw"), "dtype", None) == np.float32
        dtype = np.dtype(np.float32) if is_early else raw_dtype
        self.raw = self.fields.array("raw", (n, *spec.obs_shape), dtype)
        returns = self.fields.array("returns", (n,), np.float64, -MAX_RETURN, MAX_RETURN)
        self.returns: list[float] = returns.tolist()
        lengths = self.fields.array("lengths", (n,), np.int64, 0, COUNT)
        self.lengths: list[int] = lengths.tolist()

    def normalized_obs(self, clip: float) -> np.ndarray:
        """Observations to act on, (N, *obs_shape), whose vectors are in [-clip, clip]. Raises StateError."""
        most = float(np.float32(clip))
        if (layout := layout_of(self.spec)) is not None:
            found = self.fields.array("obs", self.raw.shape, self.spec.obs_dtype).copy()
            if not (np.abs(layout.as_vectors(found)) <= most).all():
                raise StateError("obs has a value that is not normalized")
            return found
        return self.fields.array("obs", self.raw.shape, np.float32, -most, most).copy()

    def _actions(self, value: object, name: str) -> np.ndarray:
        """The actions (T, *action_shape) of a current episode; an empty array may be (0,)."""
        action = self.spec.action
        if isinstance(value, np.ndarray) and value.size == 0 and len(value) == 0:
            return np.empty((0, *action.shape), action.dtype)
        found = array(value, name, (None, *action.shape), action.dtype)
        if action.sizes and not action.contains(found):
            raise StateError(f"{name} has an action that is not one of {list(action.sizes)}")
        return found


def _start_state(value: object, name: str) -> State:
    """How the current episode of an env started; see `episode_replay.reset_to`."""
    fields = Fields(value, name)
    state: State = {}
    if fields.get("seed", None) is not None:
        state["seed"] = fields.integer("seed", 0, MAX_SEED)
    elif fields.part("rng").get("bit_generator") in OTHERS:  # of an env with its own generator
        state["rng"] = fields.mapping("rng")
    else:
        state["rng"] = checked_rng_state(fields.get("rng"), path=fields.name("rng"))
    if "globals" in fields.state:  # see `EpisodeSeeds.begin`
        state |= {key: fields.integer(key, 0, 2**32 - 1) for key in ("globals", "spaces")}
    return state
