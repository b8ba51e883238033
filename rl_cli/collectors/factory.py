"""Chooses the collector of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from rl_cli.algos.base import Algorithm, NativeSpec
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.buffers.rollout import RolloutBuffer
from rl_cli.collectors import native, native_envs
from rl_cli.collectors.base import Collector, EagerCollector
from rl_cli.engine.forward import NativeForward
from rl_cli.engine.learner import Learner
from rl_cli.envs.vector import VectorEnv

DESCRIBED = ("act", "observe", "update", "_learn", "_learn_from")
"""Methods of an algorithm whose effect `native_spec` describes."""


def make_collector(
    algo: Algorithm[Any], envs: VectorEnv, budget: int, interrupted: Callable[[], bool]
) -> Collector:
    """A native collector if `algo` has a native spec and a C compiler is installed; else the eager one.

    Classic envs are stepped in C if its results equal Python's on this machine.

    Args:
        algo: of the run.
        envs: of the run.
        budget: env steps of the whole run.
        interrupted: whether a signal has asked the run to stop.

    """
    spec = _native_spec(algo)
    if spec is None:
        return EagerCollector(algo, envs, budget)
    if native_envs.supports(algo, envs):
        with contextlib.suppress(OSError, RuntimeError, AttributeError):
            library = native_envs.load()
            if native_envs.agrees(library, envs):
                make = native_envs.NativeEnvCollector
                return make(algo, envs, spec, library, budget, interrupted)
    with contextlib.suppress(OSError, RuntimeError, AttributeError):
        return native.NativeCollector(algo, envs, spec, native.load(), budget, interrupted)
    return EagerCollector(algo, envs, budget)


def _native_spec(algo: Algorithm[Any]) -> NativeSpec | None:
    """The native spec of `algo`; None: it has none, or its spec does not describe it.

    A subclass of a part (a buffer, a learner, an algorithm) may work otherwise than the spec says.
    """
    known = type(algo.buffer) in (ReplayBuffer, RolloutBuffer) and type(algo.learner) is Learner
    if (
        not known
        or not _describes(type(algo))
        or not isinstance(algo.learner.native, NativeForward)
    ):
        return None
    return algo.native_spec()


def _describes(cls: type[Algorithm[Any]]) -> bool:
    """Whether `native_spec` comes from the class that `cls` has its `DESCRIBED` methods from."""
    owner = next(c for c in cls.__mro__ if "native_spec" in vars(c))
    return all(getattr(cls, name, None) is getattr(owner, name, None) for name in DESCRIBED)
