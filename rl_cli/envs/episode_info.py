"""Values of `info` about an episode: success, and the keys of `env.log_info`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rl_cli.config.env import SUM
from rl_cli.core.fields import Fields, StateError

SUCCESS = ("is_success", "success")
"""Keys of `info` that say whether an episode that ends is a success."""

MAX_VALUE = 1e100
"""Larger values are left out: sums and means of the others are finite."""


def success_of(info: Mapping[str, Any]) -> bool | None:
    """Whether the env calls the episode a success at its last step; None: it does not say."""
    for key in SUCCESS:
        if key in info:
            value = scalar(info[key])
            return None if value is None else value > 0.5
    return None


def scalar(value: Any) -> float | None:
    """A number, or an array of one, as a float; None: it is neither, or not finite."""
    if not isinstance(value, (bool, int, float)):
        try:
            found = np.asarray(value)
        except Exception:  # an object of the env's own
            return None
        if found.size != 1 or found.dtype.kind not in "biuf":
            return None
        value = found.reshape(()).item()
    number = float(value) if abs(value) <= MAX_VALUE else math.nan
    return number if math.isfinite(number) else None


def _value(info: Mapping[str, Any], key: str) -> Any:
    """The value of a key, or of a path through mappings: `rewards.speed` is info["rewards"]["speed"]."""
    if key in info or "." not in key:
        return info.get(key)
    value: Any = info
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


class InfoLog:
    """Values of `info` in the current episodes of N envs.

    Args:
        keys: `env.log_info`: a key of `info`, or a path (`rewards.speed`), for its last value, or `sum:<key>` for the sum over an
            episode.
        num_envs: N.

    """

    def __init__(self, keys: Sequence[str], num_envs: int) -> None:
        self.keys = tuple(keys)
        self.values: list[dict[str, float]] = [{} for _ in range(num_envs)]
        self.successes: list[bool | None] = [None] * num_envs  # of episodes that have just ended
        self.seen: set[str] = set()  # of `keys`, since the start

    def read(self, info: Mapping[str, Any]) -> list[float]:
        """The values of one step, in the order of `keys`; NaN: not a number, or not there."""
        found = (scalar(_value(info, key.removeprefix(SUM))) for key in self.keys)
        return [math.nan if value is None else value for value in found]

    def add(self, i: int, values: Sequence[float]) -> None:
        """Add the values of a step of env i, as `read` returns them."""
        current = self.values[i]
        for key, value in zip(self.keys, values, strict=True):
            if not math.isnan(value):
                self.seen.add(key)
                current[key] = value + (current.get(key, 0.0) if key.startswith(SUM) else 0.0)

    def end(self, i: int, success: bool | None) -> None:
        """Note `success_of` the last step of an episode of env i."""
        self.successes[i] = success

    def take(self, i: int) -> tuple[bool | None, dict[str, float]]:
        """Success and values of an episode of env i that has ended; starts a new one."""
        taken = self.successes[i], self.values[i]
        self.successes[i], self.values[i] = None, {}
        return taken

    def missing(self) -> list[str]:
        """Keys that no env has given since the start."""
        return [key for key in self.keys if key not in self.seen]

    def load(self, state: object) -> None:
        """Restore `values` of a checkpoint. Raises StateError."""
        if not isinstance(state, list | tuple) or len(state) != len(self.values):
            raise StateError(f"info is not a list of {len(self.values)} mappings")
        rows = [Fields(row, f"info.{i}") for i, row in enumerate(state)]
        self.values = [
            {key: row.number(key) for key in self.keys if key in row.state} for row in rows
        ]
