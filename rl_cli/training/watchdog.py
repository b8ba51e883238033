"""Notices an env of this process that does not come back.

It costs the loop nothing: a timer looks now and then at what is being run, and an env call that was
under way at a look `timeout` seconds ago and still is has hung. What hangs inside C code cannot be
interrupted from here; with workers=<n> it can.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

from rl_cli.core.errors import EnvFault
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.evaluator import Evaluator

WATCHED: tuple[CodeType, ...] = (
    VectorEnv._step_each.__code__,
    VectorEnv._reset_one.__code__,
    Evaluator.episode.__code__,
)

LOOKS = 4  # per timeout


class Watchdog:
    """Args: timeout: seconds an env may take for a step or a reset; 0: as long as it likes."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.seen: tuple[object, ...] = ()
        self.since = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Raise EnvFault inside the body, from within the env call that hangs."""
        if self.timeout == 0 or not hasattr(signal, "setitimer"):  # Windows has no timer signals
            yield
            return
        before = signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, self.timeout / LOOKS, self.timeout / LOOKS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _look(self, signum: int, frame: FrameType | None) -> None:
        under_way, i = _env_call(frame)
        now = time.monotonic()
        if not under_way or under_way != self.seen:
            self.seen, self.since = under_way, now
        elif now - self.since >= self.timeout * (1 - 1 / LOOKS):
            where = "the evaluation's env" if i is None else f"env={i}"
            raise EnvFault(
                f"the env has not answered for {self.timeout:g} s",
                where,
                "mend the env, or give it longer with step_timeout=<seconds>",
            )


def _env_call(frame: FrameType | None) -> tuple[tuple[object, ...], int | None]:
    """What tells the env call under way from the next one (empty: there is none), and its env."""
    while frame is not None and frame.f_code not in WATCHED:
        frame = frame.f_back
    if frame is None:
        return (), None
    found = frame.f_locals
    owner, i = found["self"], found.get("i")
    steps = list(owner.lengths) if isinstance(owner, VectorEnv) else found.get("length")
    return (id(frame), i, steps), i
