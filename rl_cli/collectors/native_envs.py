"""Native collector for gymnasium's classic control envs, which C steps too.

One call of C takes all steps up to the next update, the end of an episode or 512 env steps. It works on
the buffer's own memory and with numpy's own generators; the envs, their normalizers and the log of actions
are read at the start of `collect` and written back at its end. The results are equal to those of
`EagerCollector` to the bit, which `agrees` checks at the start of a run.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from rl_cli.algos.base import Algorithm, NativeSpec
from rl_cli.buffers.columns import Columns
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.buffers.rollout import RolloutBuffer
from rl_cli.collectors import native, native_n_step
from rl_cli.collectors.inline_updates import InlineUpdates
from rl_cli.collectors.native import MAX_STEPS, Int, NativeCollector, Pointer
from rl_cli.collectors.native_n_step import NativeWindow
from rl_cli.engine import build_cache
from rl_cli.envs.fast_classic_control import Acrobot, CartPole, FastEnv, MountainCar, Pendulum
from rl_cli.envs.normalization import SCALAR_PATH_MAX
from rl_cli.envs.vector import VectorEnv

SOURCES = (
    native.SOURCE,
    native_n_step.SOURCE,
    *(Path(__file__).with_name(name) for name in ("collect_envs.c", "classic_control.c")),
)

CLASSES: tuple[type[FastEnv], ...] = (CartPole, MountainCar, Pendulum, Acrobot)
"""Env classes in the order of `Env` of classic_control.c."""

CHECKED_STEPS, CHECKED_ANGLES = 500, 10_000
"""Steps, and angles of each of four ranges, for which C is compared with Python."""

ALL_STEPS, EPISODE_END, NOT_FINITE = range(3)
"""`Stop` of collect_envs.c."""

COLUMNS = ("action", "obs", "reward", "next_obs", "terminated", "truncated")

Double, Long = ctypes.c_double, ctypes.c_int64


class MomentsStruct(ctypes.Structure):
    """`Moments` of collect_envs.c."""

    _fields_ = (("count", Double), ("mean", Pointer), ("variance", Pointer))


class EnvLoopStruct(ctypes.Structure):
    """`EnvLoop` of collect_envs.c."""

    _fields_ = (
        *((name, Int) for name in ("env", "num_envs", "state_size", "obs_size", "action_bytes")),
        *((name, Int) for name in ("normalize_obs", "normalize_reward")),
        *((name, Pointer) for name in ("policy", "actions", "epsilons", "constants")),
        *((name, Pointer) for name in ("state", "backup", "raw", "obs", "next")),
        *((name, Pointer) for name in ("returns", "reward", "lengths", "terminated", "truncated")),
        ("time_limit", Double),
        *((name, MomentsStruct) for name in ("obs_moments", "reward_moments")),
        *((name, Double) for name in ("clip_obs", "clip_reward", "gamma")),
        *((name, Pointer) for name in ("discounted", "action_log")),
        ("logged", Long),
        *((f"column_{name}", Pointer) for name in COLUMNS),
        *((name, Long) for name in ("capacity", "row")),
        ("window", Pointer),
    )


class NativeEnvCollector(NativeCollector):
    """Many steps of classic envs per call of C.

    Args:
        algo, envs: those that `supports` accepts.
        spec: `algo.native_spec()`.
        library: of `load`.
        budget: env steps of the whole run.
        interrupted: called after each call of C; True: return.

    Raises:
        AttributeError: the library lacks a function.

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
        super().__init__(algo, envs, spec, library, budget, interrupted)
        self.fast_envs = cast("list[FastEnv]", envs.envs)
        self.buffer = cast("ReplayBuffer | RolloutBuffer", algo.buffer)
        self.window: NativeWindow | None = None
        if isinstance(self.buffer, ReplayBuffer) and self.buffer.gatherer is not None:
            self.window = NativeWindow(self.buffer)
        n, obs, first = envs.num_envs, envs.raw.shape[1], self.fast_envs[0]
        steps = max(MAX_STEPS // n, 1)
        self.arrays = {
            "constants": np.array(first.constants),
            "epsilons": np.zeros(steps),
            "state": np.empty((n, first.state_size)),
            "backup": np.empty((n, first.state_size)),
            "raw": np.empty((n, obs), np.float32),
            "obs": self.net.x,
            "next": np.empty((n, obs), np.float32),
            "returns": np.empty(n),
            "reward": np.empty(n),
            "lengths": np.empty(n, np.int64),
            "terminated": np.zeros(n, np.uint8),
            "truncated": np.zeros(n, np.uint8),
            "discounted": np.empty(1),
            "actions": self.actions,
            "action_log": np.empty((steps, *self.actions.shape), self.actions.dtype),
        }
        self.obs_stats, self.reward_stats = np.empty((2, obs)), np.empty((2, 1))  # mean, variance
        self.loop, self.stop = self._make_loop(), Int(ALL_STEPS)
        self.run = library.collect_steps
        self.run.argtypes, self.run.restype = (Pointer, Long, Pointer), Long
        self.addresses = ctypes.addressof(self.loop), ctypes.addressof(self.stop)

    def _make_loop(self) -> EnvLoopStruct:
        envs, first = self.envs, self.fast_envs[0]
        columns: Any = cast(Columns, self.buffer.columns).arrays
        if self.window is not None:
            columns = self.window.steps
        s = EnvLoopStruct(
            env=CLASSES.index(type(first)),
            num_envs=envs.num_envs,
            state_size=first.state_size,
            obs_size=envs.raw.shape[1],
            action_bytes=self.actions[0].nbytes,
            policy=self.address,
            time_limit=envs.time_limit,
            capacity=columns.reward.size,
            obs_moments=_moments_struct(self.obs_stats),
            reward_moments=_moments_struct(self.reward_stats),
            window=None if self.window is None else self.window.address,
        )
        for name, array in self.arrays.items():
            setattr(s, name, array.ctypes.data)
        for name in COLUMNS:
            setattr(s, f"column_{name}", getattr(columns, name).ctypes.data)
        if envs.obs_normalizer is not None:
            s.normalize_obs, s.clip_obs = 1, envs.obs_normalizer.clip
        if (normalizer := envs.reward_normalizer) is not None:
            s.normalize_reward = 1
            s.clip_reward, s.gamma = normalizer.clip, normalizer.gamma
        return s

    def _take(self, step: int, steps: int, inline: InlineUpdates | None) -> None:
        self._read_envs()  # this and `_write_envs` take half as long as one env step in Python
        try:
            self._run(step, steps, inline)
        finally:
            self._write_envs()
        if self.stop.value == NOT_FINITE:  # C has not taken this step: Python raises its error
            transition, _ = self.envs.step(self.actions.copy())
            self.algo.observe(transition)
            self.taken += self.envs.num_envs

    def _run(self, step: int, steps: int, inline: InlineUpdates | None) -> None:
        """At most `steps` steps of all envs in C, and the updates that are due in between."""
        n, epsilons = self.envs.num_envs, self.arrays["epsilons"]
        now, end = step, step + steps * n
        self.stop.value, self.loop.logged = ALL_STEPS, 0
        rows = self.buffer.num_envs if isinstance(self.buffer, RolloutBuffer) else 1
        while now < end:
            if inline is not None and step < now >= inline.due and not inline.run(now):
                return
            until = end if inline is None else min(end, inline.due)
            count = -(-(until - now) // n)
            if self.spec.epsilon is not None:
                epsilons[:count] = [self.spec.epsilon(now + i * n) for i in range(count)]
            self.loop.row = self.buffer.position * rows
            if self.window is not None:
                self.window.begin()
            taken = self.run(self.addresses[0], count, self.addresses[1]) * n
            self.buffer.landed(taken if self.window is None else self.window.completed)
            self.taken += taken
            now += taken
            if self.stop.value != ALL_STEPS or self.interrupted():
                return

    def _read_envs(self) -> None:
        """Copy the state of the envs and normalizers to the memory of C."""
        envs, arrays, s = self.envs, self.arrays, self.loop
        arrays["state"][:] = [env.state for env in self.fast_envs]
        arrays["raw"][:], arrays["obs"][:] = envs.raw, envs.obs
        arrays["returns"][:], arrays["lengths"][:] = envs.returns, envs.lengths
        if (obs := envs.obs_normalizer) is not None:
            self.obs_stats[:] = obs.moments.mean, obs.moments.variance
            s.obs_moments.count = obs.moments.count
        if (reward := envs.reward_normalizer) is not None:
            self.reward_stats[:, 0] = reward.moments.mean, reward.moments.variance
            s.reward_moments.count = reward.moments.count
            arrays["discounted"][:] = reward.returns

    def _write_envs(self) -> None:
        """Copy the memory of C back to the envs and normalizers; reset envs whose episode ended."""
        envs, arrays, s = self.envs, self.arrays, self.loop
        for env, state in zip(self.fast_envs, arrays["state"].tolist(), strict=True):
            env.set_state(tuple(state))
        if (normalizer := envs.obs_normalizer) is not None:
            mean, variance = self.obs_stats.copy()
            count = s.obs_moments.count
            normalizer.moments.set_moments(mean, variance, count)
        if (rewards := envs.reward_normalizer) is not None:
            mean, variance = (np.array(x) for x in self.reward_stats[:, 0])
            count = s.reward_moments.count
            rewards.moments.set_moments(mean, variance, count)
            rewards.set_returns(arrays["discounted"])
        ended: list[int] = []
        if self.stop.value == EPISODE_END:
            ended = (arrays["terminated"] | arrays["truncated"]).nonzero()[0].tolist()
        actions = arrays["action_log"][: s.logged].copy()
        raw, obs = arrays["raw"], arrays["obs"]
        envs.apply_native_steps(raw, obs, arrays["returns"], arrays["lengths"], actions, ended)


def _moments_struct(stats: np.ndarray) -> MomentsStruct:
    return MomentsStruct(0.0, stats[0].ctypes.data, stats[1].ctypes.data)


def load() -> ctypes.CDLL:
    """The library of `SOURCES`; see `native.load`."""
    return build_cache.load(*SOURCES, flags=build_cache.EXACT)


def supports(algo: Algorithm[Any], envs: VectorEnv) -> bool:
    """Whether C can step `envs` and write to the buffer of `algo`, which has a native spec.

    The envs are of one class of `CLASSES` and in this process; normalizers have one env, whose
    statistics are updated one value at a time.
    """
    buffer = algo.buffer
    plain_buffer = type(buffer) is RolloutBuffer or (
        type(buffer) is ReplayBuffer and native_n_step.supports(buffer)
    )
    if (
        not plain_buffer
        or envs.reports_raw
        or type(getattr(buffer, "columns", None)) is not Columns
    ):
        return False
    normalized = envs.obs_normalizer is not None or envs.reward_normalizer is not None
    return (
        type(envs) is VectorEnv
        and not envs.sign_reward
        and not envs.episodic_life
        and type(envs.envs[0]) in CLASSES
        and not (normalized and envs.num_envs > 1)
    )


def agrees(library: ctypes.CDLL, envs: VectorEnv) -> bool:
    """Whether sines and steps of `library` equal Python's to the bit on this machine."""
    return sines_agree(library) and steps_agree(library, cast(FastEnv, envs.envs[0]))


def sines_agree(library: ctypes.CDLL) -> bool:
    """Whether C's sines and cosines equal numpy's, which has its own for some processors."""
    scales = np.array([[0.1], [0.5], [2.0], [10.0]])
    x = np.random.default_rng(0).normal(size=(4, CHECKED_ANGLES)) * scales
    sine, cosine = np.empty_like(x), np.empty_like(x)
    library.sines(*(Pointer(a.ctypes.data) for a in (x, sine, cosine)), Long(x.size))
    return np.array_equal(sine, np.sin(x)) and np.array_equal(cosine, np.cos(x))


def steps_agree(library: ctypes.CDLL, env: FastEnv) -> bool:
    """Whether C's steps from random states equal those of a copy of `env`."""
    env, rng, kind = copy.copy(env), np.random.default_rng(0), CLASSES.index(type(env))
    constants, state = np.array(env.constants), np.empty(env.state_size)
    reward, obs = np.empty(1), np.empty(SCALAR_PATH_MAX, np.float32)
    for step in range(CHECKED_STEPS):
        if step % 50 == 0:
            state[:] = rng.uniform(-1.0, 1.0, len(state))
            env.set_state(tuple(state.tolist()))
        action: Any = rng.integers(3)
        if type(env) is Pendulum:
            action = np.array([rng.normal()], np.float32)
        arrays = (constants, state, np.asarray(action), obs, reward)
        ended = library.step_classic(kind, *(Pointer(a.ctypes.data) for a in arrays))
        expected, expected_reward, terminated, _, _ = env.step(action)
        same_obs = np.array_equal(obs[: len(expected)], np.array(expected, np.float32))
        same_result = reward[0] == expected_reward and bool(ended) == bool(terminated)
        if not (same_obs and same_result and env.state == tuple(state.tolist())):
            return False
    return True
