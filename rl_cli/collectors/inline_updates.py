"""Updates between the steps of a stretch, in the same call of C.

Of an update of a small network half is Python's: drawing rows, handing over numbers, taking answers,
each with caches that the arithmetic has emptied. Where an algorithm has said how it learns
(`acting.UpdateSpec`), `collect.c` draws from numpy's own generator, reads each update's numbers from a
table, calls the compiled step as `repeat` does and moves the target: the bits of `update`, which does
whatever falls on the last step of a stretch.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from rl_cli.algos.base import Algorithm, UpdateSpec
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.core.types import Metrics
from rl_cli.engine.compiled_step import AT_ONCE, Repeated
from rl_cli.engine.learner import Call

AHEAD = 4
"""Stretches whose numbers are worked out at once: most end before their time, with an episode."""

Pointer, Int, Long = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64


class Struct(ctypes.Structure):
    """`UpdateSpec` of collect.c."""

    _fields_ = (
        *((name, Long) for name in ("at", "every", "num_envs", "filled", "capacity")),
        *((name, Long) for name in ("target_update_every", "parameters")),
        ("tau", ctypes.c_float),
        *((name, Pointer) for name in ("online", "target")),
        *((name, Int) for name in ("batches", "batch_size", "numbers", "metrics", "norm")),
        *((name, Pointer) for name in ("bits", "repeat", "step")),
        *((name, Pointer) for name in ("positions", "scalars", "told")),
        ("done", Long),
        ("failed", Int),
    )


class InlineUpdates:
    """What one run learns on the way.

    Args:
        most: env steps of each env in one stretch.

    """

    def __init__(self, algo: Algorithm[Any], lesson: UpdateSpec, num_envs: int, most: int) -> None:
        assert isinstance(algo.buffer, ReplayBuffer)
        self.algo, self.lesson, self.replay = algo, lesson, algo.buffer
        self.call: Call | None = None  # the learner's, as it was last looked at
        self.usable = False
        # updates in one stretch
        self.most = min(most * num_envs // lesson.every + 1, AT_ONCE // lesson.batches)
        self.steps: list[int] = []  # at which the updates of the table are due
        self.counted = self.ahead = 0  # learned before the table's first; of it, at `begin`
        self.struct = Struct(
            every=lesson.every, num_envs=num_envs, capacity=self.replay.capacity,
            batches=lesson.batches, batch_size=lesson.batch_size,
            bits=algo.sample_rng.bit_generator.ctypes.bit_generator.value,
        )  # fmt: skip
        if (target := algo.learner.flat_target) is not None:
            s, online = self.struct, algo.learner.flat
            s.online, s.target, s.parameters = online.data_ptr(), target.data_ptr(), len(online)
            s.target_update_every, s.tau = lesson.target_update_every, lesson.tau
        self.address = ctypes.addressof(self.struct)

    def ready(self) -> bool:
        """Whether `update` has shown the way: compiled, on rows of the buffer as it lies now."""
        call = self.algo.learner.call
        if call is not self.call:
            self.call, self.usable = call, call is not None and self._take_up(call)
        return self.usable

    def _take_up(self, call: Call) -> bool:
        lesson, s, names = self.lesson, self.struct, self.algo.learner.metric_names
        drawn = self.replay.draws.get((lesson.batches, lesson.batch_size))
        step, batches = call.function, lesson.batches
        if drawn is None or call.inputs[0] is not drawn[2] or not isinstance(step, Repeated):
            return False
        if batches > AT_ONCE or len(step.changing) != 2 or len(step.outputs) != 1:
            return False
        s.positions = drawn[1].ctypes.data
        s.step, s.repeat = step.address, ctypes.cast(step.repeat, Pointer).value
        self.table = np.empty((AHEAD * self.most, batches, call.scalars.shape[1]), np.float32)
        self.told, self.steps = np.empty((self.most, batches, len(names)), np.float32), []
        s.told = self.told.ctypes.data
        s.numbers, s.metrics, s.norm = self.table.shape[2], len(names), names.index("grad_norm")
        return True

    def until(self, step: int) -> int:
        """How far a stretch from env step `step` may go; after `AT_ONCE` updates a signal is heard."""
        return step + AT_ONCE // self.lesson.batches * self.lesson.every

    def begin(self, step: int) -> None:
        """Make ready for a stretch from env step `step` on."""
        s, done = self.struct, self.algo.learner.updates - self.counted
        self.ahead, off = divmod(done, self.lesson.batches)
        known = not off and 0 <= self.ahead <= len(self.steps) - self.most
        if not known or self.steps[self.ahead] != next(self._due(step)):
            self.ahead = 0
            self._write_table(step)
        s.at, s.filled, s.done, s.failed = step, self.replay.size, 0, 0
        s.scalars = self.table[self.ahead].ctypes.data

    def _due(self, step: int) -> Iterator[int]:
        """Steps after `step` at which there is an update: the first of all envs over a multiple."""
        n, every = self.struct.num_envs, self.lesson.every
        for multiple in itertools.count((step // every + 1) * every, every):
            yield step + -(-(multiple - step) // n) * n

    def _write_table(self, step: int) -> None:
        """The numbers of the next updates."""
        learner, rate = self.algo.learner, self.algo.learning_rate
        self.counted = learner.updates
        self.steps = list(itertools.islice(self._due(step), len(self.table)))
        count = itertools.count(self.counted + 1)
        for row, at in zip(self.table, self.steps, strict=True):
            numbers = self.lesson.numbers(at)
            row[:] = [(*learner.rates_of(rate(at), next(count)), *numbers) for _ in row]

    def end(self) -> Metrics | None:
        """Take note of what was done. -> metrics of what was learned, (K,) each; None: nothing was.

        Raises:
            RuntimeError: the compiled step failed.

        """
        learner, done = self.algo.learner, self.struct.done
        if self.struct.failed:
            raise RuntimeError("the compiled learning step failed")
        self.lesson.done(self.struct.at)
        if not done:
            return None
        learner.updates += done * self.lesson.batches
        told = self.told[:done].reshape(-1, self.struct.metrics).copy()
        return dict(zip(learner.metric_names, told.T, strict=True))
