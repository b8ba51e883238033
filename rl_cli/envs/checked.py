"""Checks what an env returns against its spaces, before anything is computed from it.

numpy would broadcast an observation of another shape, cut NaN to an integer and take the number out of
an array of one: training would continue with wrong numbers. The common case costs a few
comparisons per step. The fast envs of `envs.fast_classic_control` return what their spaces say by
construction and are not wrapped.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_cli.core.errors import BadInput, EnvFault, NonFinite
from rl_cli.core.processes import end_stray_child, forks

Env = gym.Env[Any, Any]

OBSERVATION = (
    "return observations as the space declares them, or declare the space that they are of"
)

GYM = "the API of gymnasium is (observation, info) and (observation, reward, terminated, truncated, info)"


class Checked(gym.Wrapper[Any, Any, Any, Any]):
    """The innermost wrapper of an env.

    Raises:
        EnvFault: a result of `reset` or `step` is not what gymnasium's API and the observation space
            say. Its `where` is empty; `faults.env_fault` adds the place.
        NonFinite: NaN or infinity in an observation whose space has integers.

    """

    def __init__(self, env: Env) -> None:
        super().__init__(env)
        space = env.observation_space
        self.space = space
        self.shape = (
            space.shape if isinstance(space, spaces.Box) else None
        )  # None: `conform` checks
        self.kind = space.dtype

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        depth = forks.depth
        try:
            result: Any = self.env.reset(**kwargs)
        finally:
            end_stray_child(depth)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise EnvFault(f"reset() of the env returned {_described(result)}", "", GYM)
        return conform(self.space, result[0]), info_of(result[1])

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        depth = forks.depth
        try:
            result: Any = self.env.step(action)
        finally:
            if forks.depth != depth:
                end_stray_child(depth)
        if not isinstance(result, (tuple, list)) or len(result) != 5:
            raise EnvFault(f"step() of the env returned {_described(result)}", "", GYM)
        obs, reward, terminated, truncated, info = result
        if type(obs) is not np.ndarray or obs.shape != self.shape or obs.dtype != self.kind:
            obs = conform(self.space, obs)
        if type(reward) is not float:
            reward = reward_of(reward)
        if terminated is not False and terminated is not True:
            terminated = flag_of(terminated, "terminated")
        if truncated is not False and truncated is not True:
            truncated = flag_of(truncated, "truncated")
        return obs, reward, terminated, truncated, info if type(info) is dict else info_of(info)

    def close(self) -> None:
        depth = forks.depth
        try:
            self.env.close()
        finally:
            end_stray_child(depth)


def reward_of(reward: Any) -> float:
    """A reward as a float: what `float` takes, except a text, or an array or tensor of one number.

    Raises EnvFault.
    """
    try:
        is_array = hasattr(reward, "item") and not isinstance(reward, NOT_REWARDS)
        value = reward.item() if is_array else reward
        if not isinstance(value, NOT_REWARDS) and hasattr(value, "__float__"):
            return float(value)
        found = np.asarray(reward)
        if found.size == 1 and not np.ma.is_masked(reward) and found.dtype.kind in "fiub":
            return float(found.reshape(()))
    except OverflowError:  # an integer beyond float64
        return math.inf if reward > 0 else -math.inf
    except Exception:  # not one number
        pass
    raise EnvFault(
        f"the env returned a reward that is not a number: {_described(reward)}",
        "",
        "return a float",
    )


NOT_REWARDS = (np.ma.MaskedArray, np.timedelta64, np.datetime64, np.complexfloating, str, bytes)
"""What `float` would take, or numpy would take for a number, without a value that is meant."""


def flag_of(flag: Any, name: str) -> bool:
    """`terminated` or `truncated` as a bool: 0 and 1 count, also in an array of one. Raises EnvFault."""
    if isinstance(flag, np.bool_):
        return bool(flag)
    try:
        found = np.asarray(flag)
    except Exception:
        found = np.empty((), object)
    if found.size != 1 or found.dtype.kind not in "biuf" or found.reshape(()).item() not in (0, 1):
        what = f"the env returned {name}={_described(flag)}, which is neither true nor false"
        raise EnvFault(what, "", "return a bool")
    return bool(found.reshape(()))


def info_of(info: Any) -> dict[str, Any]:
    """The info of a step or reset; None counts as empty. Raises EnvFault."""
    if info is None:
        return {}
    if not isinstance(info, dict):
        raise EnvFault(f"the env returned info={_described(info)}", "", "return a dict as info")
    return info


def conform(space: gym.Space[Any], obs: Any, name: str = "") -> Any:
    """An observation as its space says, converted only where no value changes.

    Args:
        space: Box, Discrete, MultiBinary, MultiDiscrete, or Dict or Tuple of these; others are not
            checked.
        obs: what the env returned: an array, or what `np.asarray` accepts.
        name: of the part of a Dict or Tuple, for the error message.

    Raises:
        EnvFault: shape or kind differ, or a value cannot be an element of the space's dtype.
        NonFinite: NaN or infinity where the space has integers.

    """
    if isinstance(space, spaces.Discrete):
        if isinstance(obs, (int, np.integer)) and space.start <= obs < space.start + space.n:
            return int(obs)
        found = _array((), np.dtype(np.int64), obs, name)
        _require_range(found, space.start, space.start + space.n, name)
        return int(found)
    if isinstance(space, spaces.Dict):
        if not isinstance(obs, dict) or obs.keys() != space.spaces.keys():
            raise _other(name, _described(obs), f"a dict of {', '.join(map(str, space.spaces))}")
        return {key: conform(part, obs[key], f"{name}[{key!r}]") for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(obs, (tuple, list)) or len(obs) != len(space.spaces):
            raise _other(name, _described(obs), f"a tuple of {len(space.spaces)}")
        pairs = enumerate(zip(space.spaces, obs, strict=True))
        return tuple(conform(part, value, f"{name}[{i}]") for i, (part, value) in pairs)
    if isinstance(space, spaces.Box):
        return _array(space.shape, space.dtype, obs, name)
    if isinstance(space, spaces.MultiDiscrete):
        found = _array(space.shape, space.dtype, obs, name)
        _require_range(found, space.start, space.start + space.nvec, name)
        return found
    if isinstance(space, spaces.MultiBinary):
        found = _array(space.shape, space.dtype, obs, name)
        _require_range(found, 0, 2, name)
        return found
    return obs


def _array(shape: tuple[int, ...], dtype: np.dtype[Any], obs: Any, name: str) -> np.ndarray:
    """An array of this shape whose values an array of `dtype` can hold."""
    if np.ma.is_masked(obs):
        raise _other(name, "with masked values", f"an array of shape {shape}")
    try:
        found = np.asarray(obs)
    except Exception:  # ragged lists, tensors on a GPU
        raise _other(name, _described(obs), f"an array of shape {shape}") from None
    if found.shape != shape:
        raise _other(name, f"of shape {found.shape}", f"shape {shape}")
    if found.dtype.kind not in "fiub":
        raise _other(name, f"of dtype {found.dtype}", f"dtype {dtype}")
    if found.dtype == dtype:
        return found
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinity is found by `FiniteChecks`
            return found.astype(dtype)
    return _as_integers(found, dtype, name)


def _as_integers(found: np.ndarray, dtype: np.dtype[Any], name: str) -> np.ndarray:
    """Numbers in an integer dtype, if it holds each of them exactly."""
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        value = found.ravel()[int(np.argmin(np.isfinite(found)))]
        raise NonFinite(
            f"the env returned an observation{name} with {value}, declared as {dtype}",
            "",
            OBSERVATION,
        )
    with np.errstate(invalid="ignore"):
        converted = found.astype(dtype)
    same = np.asarray(converted == found)
    if not same.all():
        value = found.ravel()[int(np.argmin(same))]
        raise _other(name, f"with {value:g}", f"dtype {dtype}")
    return converted


def _require_range(found: np.ndarray, low: Any, end: Any, name: str) -> None:
    inside = np.asarray((found >= low) & (found < end))
    if not inside.all():
        i = int(np.argmin(inside))
        bounds = [int(np.broadcast_to(b, found.shape).ravel()[i]) for b in (low, end)]
        raise _other(name, f"with {found.ravel()[i]}", f"{bounds[0]} to {bounds[1] - 1}")


def _other(name: str, returned: str, declared: str) -> EnvFault:
    """The error for an observation that is `returned` where its space declares `declared`."""
    what = f"the env returned an observation{name} {returned}; its space declares {declared}"
    return EnvFault(what, "", OBSERVATION)


def _described(value: Any) -> str:
    """A value in a few words; a long or unreadable one by its type."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} values"
    if isinstance(value, np.ndarray):
        return f"an array of dtype {value.dtype} and shape {value.shape}"
    if value is None or (type(value) in (int, float, bool, str) and not _is_long(value)):
        return repr(value)
    return f"a value of type {type(value).__name__}"


def _is_long(value: Any) -> bool:
    return (isinstance(value, str) and len(value) > 40) or (
        isinstance(value, int) and value > 10**20
    )


def require_spaces(env: Env, env_id: str) -> Env:
    """An env that declares gymnasium spaces. Raises BadInput."""
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        if isinstance(space, gym.Space):
            continue
        kind = type(space)
        found = "none" if space is None else f"one of {kind.__module__}.{kind.__qualname__}"
        raise BadInput(
            f"{env_id} declares no {name} of gymnasium: {found}",
            f"env.id={env_id}",
            f"set self.{name} to a space of gymnasium.spaces in the env's __init__",
        )
    return env
