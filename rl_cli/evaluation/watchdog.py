"""Detects an env call in this process that does not return.

A timer signal inspects the stack several times per timeout, at no cost to the training loop; an env call
that is on the stack for `timeout` seconds is reported as hanging. Time in which the process was stopped
does not count. A call that hangs inside C code cannot be
interrupted in this process; with workers=<n> the worker process is killed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

from rl_cli.core.errors import EnvFault
from rl_cli.core.processes import in_main_thread
from rl_cli.core.running_time import RunningTime
from rl_cli.envs.faults import Closable, close_env
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.evaluator import Evaluator

WATCHED: tuple[CodeType, ...] = (
    VectorEnv._step_envs.__code__,
    VectorEnv.reset_one.__code__,
    Evaluator.episode.__code__,
    close_env.__code__,
)

CHECKS = 16  # per timeout

CLOSE_SECONDS = 10.0
"""How long a command without `step_timeout` waits until `close` of an env returns."""

AGAIN_SECONDS = 1.0
"""How long the next `close` may take after one has not returned."""


class Watchdog:
    """Args: timeout: seconds that a step, a reset or `close` of an env may take; 0: no limit."""

    def __init__(self, timeout: float) -> None:
        self.seen: tuple[object, ...] = ()
        self._allow(timeout)

    def _allow(self, timeout: float) -> None:
        self.timeout, self.interval = timeout, timeout / CHECKS
        self.running = RunningTime(self.interval)

    @contextmanager
    def watching(self) -> Iterator[bool]:
        """Raise EnvFault inside the body, from within the env call that hangs. -> whether the timer runs."""
        has_timer = (
            hasattr(signal, "setitimer") and in_main_thread()
        )  # Windows has no timer signals
        if self.timeout == 0 or not has_timer:
            yield False
            return
        before = signal.signal(signal.SIGALRM, self._check)
        timer = signal.getitimer(signal.ITIMER_REAL)  # of a watchdog around this one
        self._start_timer()
        try:
            yield True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            signal.setitimer(signal.ITIMER_REAL, *timer)

    def _start_timer(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self.interval, self.interval)

    def _check(self, signum: int, frame: FrameType | None) -> None:
        call, i = _env_call(frame)
        if not call or call != self.seen:
            self.seen = call
            self.running.restart()
        elif self.running.advance() >= self.timeout - self.interval:
            where = "the evaluation's env" if i is None else f"env={i}"
            timeout = self.timeout
            if _closes(frame):  # the other envs will not close either
                self._allow(min(timeout, AGAIN_SECONDS))
                self._start_timer()
            raise EnvFault(
                f"the env has not responded for {timeout:g} s",
                where,
                "fix the env, or allow more time with step_timeout=<seconds>",
            )


closing = Watchdog(CLOSE_SECONDS)
"""Of the commands without `step_timeout`."""


def close_in_time(env: Closable) -> str | None:
    """`close_env` for at most `CLOSE_SECONDS`, or `AGAIN_SECONDS`."""
    with closing.watching():
        return close_env(env)


def _watched(frame: FrameType | None) -> FrameType | None:
    """The frame of the current env call."""
    while frame is not None and frame.f_code not in WATCHED:
        frame = frame.f_back
    return frame


def _closes(frame: FrameType | None) -> bool:
    """Whether the current env call is that of `close`."""
    found = _watched(frame)
    return found is not None and found.f_code is close_env.__code__


def _env_call(frame: FrameType | None) -> tuple[tuple[object, ...], int | None]:
    """An identity of the current env call (empty: there is none), and the index of its env."""
    frame = _watched(frame)
    if frame is None:
        return (), None
    found = frame.f_locals
    owner, i = found.get("self"), found.get("i")
    steps = list(owner.lengths) if isinstance(owner, VectorEnv) else found.get("length")
    return (id(frame), i, steps), i
