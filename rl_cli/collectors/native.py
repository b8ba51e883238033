"""Native collector: action selection and updates run in C between env steps.

Python steps the envs, which may be any. `NativeSpec` of an algorithm describes how it chooses actions; an
`UpdateSpec` in it, how it updates. C works on the same memory and with numpy's own generators, so the
results are equal to those of `EagerCollector` to the bit, and a run may change between both at any step.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random

from rl_cli.algos.base import Algorithm, NativeSpec
from rl_cli.collectors.base import Collected, EagerCollector
from rl_cli.collectors.inline_updates import InlineUpdates
from rl_cli.core.errors import RunError
from rl_cli.engine import build_cache
from rl_cli.engine.forward import NativeForward
from rl_cli.envs.vector import VectorEnv

SOURCE = Path(__file__).with_name("collect.c")

RULES = ("epsilon_greedy", "categorical", "gaussian")
"""`NativeSpec.rule`, as `Rule` of collect.c counts them."""

MAX_STEPS = 512
"""Env steps in one call of `collect`, if there are fewer envs: it keeps the metrics of all updates."""

Pointer, Int = ctypes.c_void_p, ctypes.c_int32


class PolicyStruct(ctypes.Structure):
    """`Policy` of collect.c."""

    _fields_ = (
        *((name, Int) for name in ("rule", "num_envs", "num_outputs")),
        *((name, Pointer) for name in ("network", "forward", "choose", "outputs", "bits")),
        *((name, Pointer) for name in ("normal", "std", "uniforms", "actions")),
    )


class NativeCollector:
    """Many env steps per call, with action selection and updates in C.

    A step that it cannot take (the last one of the budget, with fewer envs; any step once the learning
    step turns out not to compile) is `EagerCollector`'s.

    Args:
        spec: `algo.native_spec()`.
        library: of collect.c.
        budget: env steps of the whole run.
        interrupted: called after each step of the envs; True: return.

    Raises:
        AttributeError: a library lacks a function.

    """

    def __init__(
        self,
        algo: Algorithm[Any],
        envs: VectorEnv,
        spec: NativeSpec,
        library: ctypes.CDLL,
        budget: int,
        interrupted: Callable[[], bool],
    ) -> None:
        self.algo, self.envs, self.spec = algo, envs, spec
        self.eager, self.interrupted = EagerCollector(algo, envs, budget), interrupted
        self.taken = 0  # env steps of the current call
        n, updates = envs.num_envs, spec.update
        self.inline: InlineUpdates | None = None
        if updates is not None and updates.every >= n and spec.std is None:
            self.inline = InlineUpdates(algo, updates, n, max(MAX_STEPS, n), library)
        self.choose_actions = library.choose_actions
        self.choose_actions.argtypes, self.choose_actions.restype = (Pointer, ctypes.c_double), None
        self.actions = np.empty((n, *envs.spec.action.shape), envs.spec.action.dtype)
        self.std, self.uniforms = np.empty(spec.net.sizes[-1], np.float32), np.empty(n)
        self.struct = self._make_struct()
        self.address = ctypes.addressof(self.struct)

    def _make_struct(self) -> PolicyStruct:
        learner, spec, n = self.algo.learner, self.spec, self.envs.num_envs
        assert isinstance(learner.native, NativeForward)
        assert learner.arrays is not None
        self.net = net = learner.native.prepared(spec.net, learner.arrays, n)
        s = PolicyStruct(
            rule=RULES.index(spec.rule),
            num_envs=n,
            num_outputs=spec.net.sizes[-1],
            network=net.address,
            outputs=net.out.ctypes.data,
            bits=self.algo.explore_rng.bit_generator.ctypes.bit_generator.value,
            std=self.std.ctypes.data,
            uniforms=self.uniforms.ctypes.data,
            actions=self.actions.ctypes.data,
        )
        s.forward, s.choose = (
            ctypes.cast(getattr(learner.native.library, name), Pointer).value
            for name in ("forward", "choose")
        )
        if spec.rule == "gaussian":
            s.normal = ctypes.cast(_numpy_random().random_standard_normal_f, Pointer).value
        return s

    def collect(self, step: int, until: int) -> Collected:
        """See `Collector.collect`."""
        inline = self.inline if self.inline is not None and self.inline.ready() else None
        steps = self._steps_ahead(step, until, inline)
        if steps <= 0:
            return self.eager.collect(step, until)
        if self.spec.std is not None:
            self.std[:] = self.spec.std()
        if inline is not None:
            inline.begin(step)
        self.taken = 0
        try:
            self._take(step, steps, inline)
        except RunError as error:
            error.add_steps(self.taken)
            raise
        return Collected(self.taken, None if inline is None else inline.end())

    def _steps_ahead(self, step: int, until: int, inline: InlineUpdates | None) -> int:
        """How many steps of all envs this call may take; 0: none."""
        n, left = self.envs.num_envs, self.eager.budget - step
        if self.algo.learner.native is None:  # the update step turned out not to compile
            return 0
        if inline is None:
            until = min(until, self.spec.next_update(step))
        return min(-(-(until - step) // n), left // n, max(MAX_STEPS // n, 1))

    def _take(self, step: int, steps: int, inline: InlineUpdates | None) -> None:
        """At most `steps` steps of all envs, from env step `step` on.

        The last one is that in which an episode ends, a gradient is not finite or a signal arrives. What is
        due after it is left to `Algorithm.update`.
        """
        envs, observe, n = self.envs, self.algo.observe, self.envs.num_envs
        epsilon, x, actions = self.spec.epsilon or _no_epsilon, self.net.x, self.actions
        for now in range(step, step + steps * n, n):
            if inline is not None and step < now >= inline.due and not inline.run(now):
                return
            x[...] = envs.obs
            self.choose_actions(self.address, epsilon(now))
            transition, _ = envs.step(actions.copy())  # which the envs and the algorithm may keep
            observe(transition)
            self.taken += n
            if envs.episodes or self.interrupted():
                return


def load() -> ctypes.CDLL:
    """The library of collect.c, from the cache or compiled now.

    Raises:
        OSError, RuntimeError: there is no compiler, it failed, or the cache cannot be written.

    """
    return build_cache.load(SOURCE, flags=build_cache.EXACT)


def _no_epsilon(step: int) -> float:
    return 0.0


@functools.cache
def _numpy_random() -> ctypes.CDLL:
    """The library of numpy's generators, which exports their functions."""
    return ctypes.CDLL(numpy.random._generator.__file__)
