"""Many steps in a row with little Python between them: C acts and learns, Python steps the envs.

Where an algorithm has said in plain words how it acts (`acting.NativeSpec`), and perhaps how it learns
(`acting.UpdateSpec`), that is done by `collect.c` between one step of the envs and the next: on the same
memory, from numpy's own generators, the bits of the loop that does it step by step. The envs are any;
those that C can step itself have `stretch`.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.random

from rl_cli.algos.base import Algorithm, NativeSpec
from rl_cli.collectors.inline_updates import InlineUpdates
from rl_cli.core.types import Metrics
from rl_cli.engine.forward import Native
from rl_cli.envs.vector import VectorEnv

RULES = ("epsilon_greedy", "categorical", "gaussian")

MOST = 512
"""Env steps in one go, if there are fewer envs than that; of one in C a signal is heard at the end."""

Pointer, Int, Double = ctypes.c_void_p, ctypes.c_int32, ctypes.c_double


class Moments(ctypes.Structure):
    """`Moments` of collect.c."""

    _fields_ = (("count", Double), ("mean", Pointer), ("variance", Pointer))


class Struct(ctypes.Structure):
    """`NativeEnvCollector` of collect.c."""

    _fields_ = (
        *((name, Int) for name in ("env", "num_envs", "state_size", "obs_size")),
        *((name, Pointer) for name in ("constants", "state", "raw", "seen", "returns")),
        ("time_limit", Double),
        *((name, Pointer) for name in ("lengths", "ended")),
        *((name, Int) for name in ("over", "normalizes_obs", "normalizes_reward")),
        *((name, Moments) for name in ("obs_moments", "reward_moments")),
        *((name, Double) for name in ("clip_obs", "clip_reward", "gamma")),
        ("discounted", Pointer),
        *((name, Int) for name in ("rule", "outputs")),
        *((name, Pointer) for name in ("net", "forward", "choose", "x", "out", "bits", "normal")),
        *((name, Pointer) for name in ("epsilons", "std", "points", "acted")),
        ("logged", ctypes.c_int64),
        *((name, Pointer) for name in ("actions", "obs", "reward", "next_obs")),
        *((name, Pointer) for name in ("terminated", "truncated")),
        *((name, ctypes.c_int64) for name in ("capacity", "row")),
        ("lesson", Pointer),
    )


class NativeCollector:
    """The steps of one run, as far as somebody else has nothing to do in between.

    Args:
        algo, envs: of the run.
        native_spec: what the algorithm says of itself.
        library: of collect.c.

    """

    def __init__(
        self, algo: Algorithm[Any], envs: VectorEnv, native_spec: NativeSpec, library: ctypes.CDLL
    ) -> None:
        self.algo, self.envs, self.native_spec, self.library = algo, envs, native_spec, library
        n, outputs, kind = envs.num_envs, native_spec.net.sizes[-1], envs.spec.action
        self.seen = np.empty((n, native_spec.net.sizes[0]), np.float32)  # observations to act on
        self.epsilons, self.epsilons_at = np.empty(MOST), -1
        self.std, self.points = np.empty(outputs, np.float32), np.empty(n)
        self.acted = np.empty((MOST, n, *kind.shape), kind.dtype)
        self.lessons: InlineUpdates | None = None
        if (
            native_spec.update is not None
            and native_spec.update.every >= n
            and native_spec.std is None
        ):
            self.lessons = InlineUpdates(algo, native_spec.update, n, MOST)
        self.interrupted: Callable[[], bool] = lambda: False  # asked after each step of the envs
        self.learned: Metrics | None = None  # in the last call
        self.taken = 0  # env steps in the last call, the one that failed left out
        self.struct = s = Struct(
            num_envs=n,
            obs_size=self.seen.shape[1],
            rule=RULES.index(native_spec.rule),
            outputs=outputs,
        )
        for name in ("seen", "std", "points", "acted"):
            setattr(s, name, getattr(self, name).ctypes.data)
        self._point_at_policy()
        self.address = ctypes.addressof(s)

    def _point_at_policy(self) -> None:
        s, learner = self.struct, self.algo.learner
        assert isinstance(learner.native, Native)
        assert learner.arrays is not None
        self.net = learner.native.prepared(self.native_spec.net, learner.arrays, self.envs.num_envs)
        s.net, s.x, s.out = self.net.address, self.net.x.ctypes.data, self.net.out.ctypes.data
        for name in ("forward", "choose"):
            function = getattr(learner.native.library, name)
            setattr(s, name, ctypes.cast(function, Pointer).value)
        s.bits = self.algo.explore_rng.bit_generator.ctypes.bit_generator.value
        if self.native_spec.rule == "gaussian":
            s.normal = ctypes.cast(_numpys().random_standard_normal_f, Pointer).value

    def __call__(self, step: int, until: int) -> int:
        """Go on from env step `step` to the first at or after `until`, or to an episode's end.

        What is to be learned on the way is, and its metrics are `learned`; what is to be at the end is left
        to `update`.

        Returns:
            Env steps taken; 0: none can be, `until` is too near or code was found to be missing.

        """
        self.taken, self.learned = 0, None  # whatever happens
        n, s, lessons = self.envs.num_envs, self.struct, self._lessons()
        s.lesson = lessons and lessons.address
        until = min(until, lessons.until(step) if lessons else self.native_spec.next_update(step))
        steps = min(-(-(until - step) // n), max(MOST // n, 1))
        if steps <= 0 or self.algo.learner.native is None:
            return 0
        if self.native_spec.epsilon is not None:
            s.epsilons = self._epsilons_from(step, steps)
        if self.native_spec.std is not None:
            self.std[:] = self.native_spec.std()
        if lessons is not None:
            lessons.begin(step)
        self._go(steps)
        if lessons is not None:
            self.learned = lessons.end()
        return self.taken

    def _lessons(self) -> InlineUpdates | None:
        """What is to be learned on the way; None: `update` alone knows how."""
        lessons = self.lessons
        return lessons if lessons is not None and lessons.ready() else None

    def _epsilons_from(self, step: int, steps: int) -> int:
        """Where the shares of chance stand, from this step on."""
        n, epsilon = self.envs.num_envs, self.native_spec.epsilon
        assert epsilon is not None
        ahead, off = divmod(step - self.epsilons_at, n)
        if self.epsilons_at < 0 or off or not 0 <= ahead <= MOST - steps:
            self.epsilons[:] = [epsilon(at) for at in range(step, step + MOST * n, n)]
            self.epsilons_at, ahead = step, 0
        return int(self.epsilons.ctypes.data) + self.epsilons.itemsize * ahead

    def _go(self, steps: int) -> None:
        """At most so many steps of all envs; one in which an episode ends or a signal comes is the last."""
        envs, observe, n = self.envs, self.algo.observe, self.envs.num_envs
        for step in range(steps):
            self.seen[...] = envs.obs
            if self.choose(self.address, step):
                return  # what was learned on the way is no number
            transition, _ = envs.step(self.acted[step].copy())  # some of which are kept
            observe(transition)
            self.taken += n
            if envs.episodes or self.interrupted():
                return

    @functools.cached_property
    def choose(self) -> Any:
        """`choose_actions` of collect.c."""
        function = self.library.choose_actions
        function.argtypes, function.restype = (Pointer, ctypes.c_int64), ctypes.c_int
        return function

    def settle(self) -> None:
        """Hand over to the envs where they are now; who looks at them asks for it first."""


@functools.cache
def _numpys() -> ctypes.CDLL:
    """The library of numpy's generators, which tells C its functions by name."""
    return ctypes.CDLL(numpy.random._generator.__file__)
