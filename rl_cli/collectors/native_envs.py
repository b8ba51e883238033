"""Acting, stepping and remembering many times in one call of C, and learning where `lessons` knows how.

Where every part is known to be plain (one of the classic envs, a small network, rows that are stored
as they come) a step of the loop costs ten times its arithmetic in Python's calls. `collect.c` does
the same on the same memory and with numpy's own generators, to the bit, so that a run may go
one way or the other at any step; the trainer's loop is the oracle, and a test compares.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
from pathlib import Path
from typing import Any, cast

import numpy as np

from rl_cli.algos.base import Algorithm, NativeSpec
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.buffers.rollout import RolloutBuffer
from rl_cli.collectors.native import MOST, NativeCollector, Pointer
from rl_cli.engine import build_cache
from rl_cli.engine.forward import Native
from rl_cli.engine.learner import Learner
from rl_cli.envs.fast_classic_control import Acrobot, CartPole, MountainCar, Pendulum
from rl_cli.envs.normalization import SCALAR_PATH_MAX
from rl_cli.envs.vector import VectorEnv

SOURCES = tuple(Path(__file__).with_name(name) for name in ("collect.c", "classic_control.c"))

KINDS = (CartPole, MountainCar, Pendulum, Acrobot)
"""As classic_control.c counts them."""

PENDULUM = KINDS.index(Pendulum)

TRIAL, ANGLES = 500, 10_000
"""Steps and numbers at which C is compared with Python."""


class NativeEnvCollector(NativeCollector):
    """The steps of one run that need nothing but arithmetic.

    Args:
        algo, envs: of the run; made by `prepared`, which knows that they are fit for it.

    """

    def __init__(
        self, algo: Algorithm[Any], envs: VectorEnv, native_spec: NativeSpec, library: ctypes.CDLL
    ) -> None:
        super().__init__(algo, envs, native_spec, library)
        self.twins = cast("list[Any]", envs.envs)
        self.buffer = cast("ReplayBuffer | RolloutBuffer", algo.buffer)
        n, s, first = envs.num_envs, self.struct, self.twins[0]
        self.constants, self.state = np.array(first.constants), np.empty((n, first.numbers))
        self.raw = self.seen if envs.obs_normalizer is None else self.seen.copy()
        self.returns, self.lengths = np.empty(n), np.empty(n, np.int64)
        self.ended = np.zeros(n, np.uint8)
        self.stands = False  # where the envs are, or ahead of them
        s.env, s.state_size = KINDS.index(type(first)), self.state.shape[1]
        s.time_limit = envs.time_limit
        for name in ("constants", "state", "raw", "returns", "lengths", "ended"):
            setattr(s, name, getattr(self, name).ctypes.data)
        self._point_at_statistics()
        self._point_at_memory()
        self.run = library.stretch
        self.run.argtypes, self.run.restype = (Pointer, ctypes.c_int64), ctypes.c_int64

    def _point_at_statistics(self) -> None:
        s, envs, obs = self.struct, self.envs, self.raw.shape[1]
        self.obs_stats, self.reward_stats = np.empty((2, obs)), np.empty((2, 1))
        self.discounted = np.empty(1)
        s.discounted = self.discounted.ctypes.data
        pairs = ((s.obs_moments, self.obs_stats), (s.reward_moments, self.reward_stats))
        for moments, stats in pairs:
            moments.mean, moments.variance = stats[0].ctypes.data, stats[1].ctypes.data
        if envs.obs_normalizer is not None:
            s.normalizes_obs, s.clip_obs = 1, envs.obs_normalizer.clip
        if (normalizer := envs.reward_normalizer) is not None:
            s.normalizes_reward = 1
            s.clip_reward, s.gamma = normalizer.clip, normalizer.gamma

    def _point_at_memory(self) -> None:
        s, columns = self.struct, self.buffer.columns.arrays
        s.capacity = columns.reward.size
        s.actions = columns.action.ctypes.data
        for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
            setattr(s, name, getattr(columns, name).ctypes.data)

    def _go(self, steps: int) -> None:
        s, n = self.struct, self.envs.num_envs
        if s.logged + steps > MOST:
            self.settle()
        if not self.stands:
            self._stand()
        s.row = self.buffer.row
        taken = self.run(self.address, steps) * n
        self.buffer.landed(taken)
        self.taken = taken - n
        if s.over:
            self.settle()  # which may find the last one to be no number
        self.taken = taken

    def _stand(self) -> None:
        """Take over where the envs are."""
        self.stands, envs, s = True, self.envs, self.struct
        self.state[:] = [env.state for env in self.twins]
        self.raw[:] = envs.raw
        self.returns[:], self.lengths[:] = envs.returns, envs.lengths
        if (obs := envs.obs_normalizer) is not None:
            self.seen[:] = envs.obs
            self.obs_stats[:] = obs.moments.mean, obs.moments.variance
            s.obs_moments.count = obs.moments.count
        if (reward := envs.reward_normalizer) is not None:
            self.reward_stats[:, 0] = reward.moments.mean, reward.moments.variance
            s.reward_moments.count = reward.moments.count
            self.discounted[0] = reward.returns[0]

    def settle(self) -> None:
        """Hand over to the envs where they are now; who looks at them asks for it first."""
        if not self.stands:
            return
        self.stands, envs, s = False, self.envs, self.struct
        for env, state in zip(self.twins, self.state.tolist(), strict=True):
            env.state = tuple(state)
        if (obs := envs.obs_normalizer) is not None:
            obs.moments.mean, obs.moments.variance = self.obs_stats.copy()
            obs.moments.count = s.obs_moments.count
        if (reward := envs.reward_normalizer) is not None:
            reward.moments.mean, reward.moments.variance = map(np.array, self.reward_stats[:, 0])
            reward.moments.count = s.reward_moments.count
            reward.returns[0] = self.discounted[0]
        actions, s.logged = self.acted[: s.logged].copy(), 0
        ended = self.ended.nonzero()[0].tolist() if s.over else []
        envs.apply_native_steps(self.raw, self.seen, self.returns, self.lengths, actions, ended)


def prepared(algo: Algorithm[Any], envs: VectorEnv) -> NativeCollector | None:
    """The stretches of a run, or at least its strides; None: how it acts is known to Python alone."""
    ours = type(algo.buffer) in (ReplayBuffer, RolloutBuffer) and type(algo.learner) is Learner
    native_spec = algo.native_spec() if ours and _speaks_for(type(algo)) else None
    if native_spec is None or not isinstance(algo.learner.native, Native):
        return None
    with contextlib.suppress(OSError, RuntimeError, AttributeError):
        library = build_cache.load(*SOURCES, flags=build_cache.EXACT)
        if _fit(envs) and _same_sines(library) and _same_steps(library, envs.envs[0]):
            return NativeEnvCollector(algo, envs, native_spec, library)
        return NativeCollector(algo, envs, native_spec, library)
    return None


def _speaks_for(cls: type[Algorithm[Any]]) -> bool:
    """Whether `native_spec` is of the class that says how to act: a subclass may act otherwise."""
    owner = next(c for c in cls.__mro__ if "native_spec" in vars(c))
    said = ("act", "_explore", "_greedy", "observe", "update", "next_update", "_learn")
    return all(getattr(cls, name, None) is getattr(owner, name, None) for name in said)


def _fit(envs: VectorEnv) -> bool:
    """Stepped in this process, all of one classic kind, statistics as for a single row."""
    normalized = envs.obs_normalizer is not None or envs.reward_normalizer is not None
    plain = type(envs) is VectorEnv and not envs.sign_reward
    return plain and type(envs.envs[0]) in KINDS and not (normalized and envs.num_envs > 1)


def _same_sines(library: ctypes.CDLL) -> bool:
    """Numpy has sines of its own for some processors, which may round otherwise than C's."""
    x = np.random.default_rng(0).normal(size=(4, ANGLES)) * np.array([[0.1], [0.5], [2.0], [10.0]])
    sine, cosine = np.empty_like(x), np.empty_like(x)
    places = (Pointer(a.ctypes.data) for a in (x, sine, cosine))
    library.sines(*places, ctypes.c_int64(x.size))
    return np.array_equal(sine, np.sin(x)) and np.array_equal(cosine, np.cos(x))


def _same_steps(library: ctypes.CDLL, env: Any) -> bool:
    """Half a thousand steps of an env in C are those of Python."""
    twin, rng = copy.copy(env), np.random.default_rng(0)
    kind, constants = KINDS.index(type(env)), np.array(env.constants)
    state, reward, obs = np.empty(env.numbers), np.empty(1), np.empty(SCALAR_PATH_MAX, np.float32)
    places = (constants.ctypes.data, state.ctypes.data)
    for step in range(TRIAL):
        if step % 50 == 0:
            state[:] = rng.uniform(-1.0, 1.0, len(state))
            twin.state = tuple(state.tolist())
        choice = np.array([rng.normal()], np.float32) if kind == PENDULUM else rng.integers(3)
        given = np.asarray(choice)
        over = library.step_classic(
            kind, *map(Pointer, places), Pointer(given.ctypes.data),
            Pointer(obs.ctypes.data), Pointer(reward.ctypes.data),
        )  # fmt: skip
        seen, gain, terminated, _, _ = twin.step(choice)
        same = np.array_equal(obs[: len(seen)], np.array(seen, np.float32))
        if not same or reward[0] != gain or bool(over) != terminated or twin.state != tuple(state):
            return False
    return True
