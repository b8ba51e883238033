"""The actions of a current episode, from which a resumed run replays it."""

from __future__ import annotations

import numpy as np

from rl_cli.core.types import ActionSpec

ACTION_LOG_BYTES = 64 << 20
"""Bytes kept of the current episodes, over all envs: 8 million discrete actions."""

MIN_LOG_BYTES = 64 << 10
"""Bytes kept of the current episode of each env, however many envs there are."""


def bytes_of(actions: np.ndarray, spec: ActionSpec) -> bytes:
    """Actions as they are kept, one after the other. A scalar's own `tobytes` takes a microsecond."""
    return np.ascontiguousarray(actions, spec.dtype).tobytes()


class ActionLog:
    """The actions of the current episode of one env, as long as they fit the limit.

    A longer episode keeps none: it cannot be replayed, and its memory and checkpoints stay small.

    Args:
        action: spec of an action.
        num_envs: envs that share `ACTION_LOG_BYTES`.

    """

    def __init__(self, action: ActionSpec, num_envs: int) -> None:
        self.spec, self.data = action, bytearray()
        self.row_bytes = max(int(np.prod(action.shape)), 1) * np.dtype(action.dtype).itemsize
        self.limit = max(ACTION_LOG_BYTES // num_envs, MIN_LOG_BYTES)
        self.complete = True

    def __len__(self) -> int:
        return len(self.data) // self.row_bytes

    def add(self, actions: bytes) -> None:
        """Append the bytes of one action or of several."""
        if self.complete:
            self.data += actions
            if len(self.data) > self.limit:
                self.data, self.complete = bytearray(), False

    def rows(self) -> np.ndarray:
        """All actions of the episode, (T, *action_shape); empty if they are too many."""
        rows = np.frombuffer(bytes(self.data), self.spec.dtype)
        return rows.reshape(-1, *self.spec.shape)

    def latest(self, count: int) -> np.ndarray:
        """The last actions, at most `count`. (T, *action_shape)."""
        rows = np.frombuffer(bytes(self.data[-count * self.row_bytes :]), self.spec.dtype)
        return rows.reshape(-1, *self.spec.shape)

    def refill(self, rows: np.ndarray, length: int) -> None:
        """Continue an episode of `length` steps whose kept actions are `rows`."""
        self.data = bytearray(bytes_of(rows, self.spec))
        self.complete = len(self) == length

    def clear(self) -> None:
        """A new episode starts."""
        self.data, self.complete = bytearray(), True
