"""Updates between the env steps of one call of the native collector.

Where an algorithm has an `UpdateSpec`, an update is one call of C: it draws the rows from numpy's own
generator and runs the compiled step. The results are equal to those of `Algorithm.update` to the bit.
`Algorithm.update` makes the updates that are due at the last step of a call, and those of an update step
that is not compiled.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from rl_cli.algos.base import Algorithm, UpdateSpec
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.core.schedules import crossings, next_multiple
from rl_cli.core.types import Metrics
from rl_cli.engine.compiled_step import AT_ONCE, CompiledStep
from rl_cli.engine.prepared_call import PreparedCall

DONE, NOT_FINITE = 0, 1
"""Of `Outcome` of collect.c."""

Pointer, Int = ctypes.c_void_p, ctypes.c_int32


class UpdatesStruct(ctypes.Structure):
    """`Updates` of collect.c."""

    _fields_ = (
        *((name, Int) for name in ("num_batches", "batch_size", "num_metrics", "grad_norm")),
        *((name, Pointer) for name in ("bits", "run", "step", "scalars", "positions", "metrics")),
    )


class InlineUpdates:
    """The updates of one run that are due between two env steps of a native collection.

    Args:
        algo: its buffer is a `ReplayBuffer`.
        spec: when and how it updates. `spec.every` is at least `num_envs`.
        num_envs: env steps of one step of all envs.
        max_steps: env steps of one collection, at most.
        library: of collect.c.

    """

    def __init__(
        self,
        algo: Algorithm[Any],
        spec: UpdateSpec,
        num_envs: int,
        max_steps: int,
        library: ctypes.CDLL,
    ) -> None:
        assert isinstance(algo.buffer, ReplayBuffer)
        self.algo, self.spec, self.num_envs, self.replay = algo, spec, num_envs, algo.buffer
        self.call: PreparedCall | None = None  # the learner's last one when `ready` last looked
        self.scalars = np.empty((0, 0), np.float32)  # of this call, (K, numbers)
        self.metrics = np.empty((0, 0, 0), np.float32)  # (rounds, K, metrics)
        self.usable = False  # whether this call can be made from C
        self.due = self.update_due = self.target_due = (
            0  # env steps: of the next of either; of each
        )
        self.max_rounds = max_steps // spec.every + 1
        self.rounds = 0  # of updates in this collection; the first rows of `metrics`
        self.struct = UpdatesStruct(
            num_batches=spec.batches,
            batch_size=spec.batch_size,
            bits=algo.sample_rng.bit_generator.ctypes.bit_generator.value,
        )
        self.address = ctypes.addressof(self.struct)
        self.run_updates = library.run_updates
        self.run_updates.argtypes = (Pointer, ctypes.c_int64, ctypes.c_int64)
        self.run_updates.restype = ctypes.c_int

    def ready(self) -> bool:
        """Whether the learner's last update was a compiled step on batches of this size.

        The first update of a run is `Algorithm.update`'s: it compiles the step.
        """
        call = self.algo.learner.last_call
        if call is not self.call:
            self.call, self.usable = call, call is not None and self._prepare(call)
        return self.usable

    def _prepare(self, call: PreparedCall) -> bool:
        """Point the struct at the memory of `call`. -> whether it can be made from C."""
        spec, s, step = self.spec, self.struct, call.function
        drawn = self.replay.draws.get((spec.batches, spec.batch_size))
        if drawn is None or call.inputs[0] is not drawn[2] or not isinstance(step, CompiledStep):
            return False
        if spec.batches > AT_ONCE or len(step.changing) != 2 or len(step.outputs) != 1:
            return False
        names = self.algo.learner.metric_names
        s.num_metrics, s.grad_norm = len(names), names.index("grad_norm")
        s.step, s.run = step.address, ctypes.cast(step.repeat, Pointer).value
        self.scalars = call.scalars
        self.metrics = np.empty((self.max_rounds, spec.batches, len(names)), np.float32)
        s.scalars, s.positions = self.scalars.ctypes.data, drawn[1].ctypes.data
        s.metrics = self.metrics.ctypes.data
        return True

    def begin(self, step: int) -> None:
        """Start a collection at env step `step`, up to which all updates have been made."""
        self.rounds = 0
        self.update_due = next_multiple(step, self.spec.every)
        self.target_due = next_multiple(step, self.spec.target_update_every)
        self.due = min(self.update_due, self.target_due)

    def run(self, step: int) -> bool:
        """Make the updates that are due at env step `step`, the first one at or after `due`.

        Returns:
            Whether all gradients are finite. If not, the target network stays as it is.

        Raises:
            RuntimeError: the compiled step failed.

        """
        spec, finite = self.spec, True
        if step >= self.update_due:
            finite = self._update(step)
            self.update_due = next_multiple(step, spec.every)
        if finite and step >= self.target_due:
            for _ in range(crossings(step - self.num_envs, step, spec.target_update_every)):
                self.algo.learner.update_target(spec.tau)
            self.target_due = next_multiple(step, spec.target_update_every)
        self.due = min(self.update_due, self.target_due)
        spec.done(step)
        return finite

    def _update(self, step: int) -> bool:
        """One update on each of `spec.batches` batches. -> whether all gradients are finite."""
        algo, numbers = self.algo, self.spec.numbers(step)
        algo.learner.write_scalars(self.scalars, algo.learning_rate(step), numbers)
        self.replay.table()  # as `ReplayBuffer.sample` does
        outcome = self.run_updates(self.address, self.replay.size, self.rounds)
        if outcome not in (DONE, NOT_FINITE):
            raise RuntimeError("the compiled update step failed")
        self.rounds += 1
        return bool(outcome == DONE)

    def end(self) -> Metrics | None:
        """Metrics of the updates since `begin`, (K,) each; None: there were none."""
        if not self.rounds:
            return None
        rows = self.metrics[: self.rounds].reshape(-1, self.struct.num_metrics).copy()
        return dict(zip(self.algo.learner.metric_names, rows.T, strict=True))
