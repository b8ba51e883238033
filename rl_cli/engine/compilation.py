"""The compiled steps and functions of a learner, by the shapes of their inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from rl_cli.core.errors import UpdateInterrupted
from rl_cli.core.fields import Fields
from rl_cli.core.types import Arrays, State
from rl_cli.engine.functions import Compiler, Function, Runs, eager_loop

MAX_SHAPES = 4
"""Functions and shapes to compile; a learner with more probably never repeats the shapes of inputs."""


class Forward(Protocol):
    """Forward passes of MLPs on a few rows, faster than numpy; see `forward.NativeForward`."""

    def __call__(self, net: Any, arrays: Arrays, x: np.ndarray) -> np.ndarray: ...

    def sample(
        self, net: Any, arrays: Arrays, x: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray: ...


@dataclasses.dataclass
class _Undo:
    """Copies of the state, made before the first build in a body of `undo_if_interrupted`."""

    updates: int
    copies: list[torch.Tensor] = dataclasses.field(default_factory=list)

    def save(self, state: Sequence[torch.Tensor]) -> None:
        self.copies = [tensor.clone() for tensor in state]


class Compilation:
    """A run compiles all its functions or none, and runs forward passes in C only in the first case.

    Else a resumed run, for which everything may compile, would round differently.

    Args:
        state: the tensors that updates change.

    """

    def __init__(self, state: Sequence[torch.Tensor]) -> None:
        self.state = state
        self.compiler: Compiler | None = None
        self.forward: Forward | None = None
        self.functions: dict[tuple[object, ...], Runs] = {}
        self.is_compiled: bool | None = None  # None: before the first update
        self.was_compiled: bool | None = None  # of the run that saved the loaded state
        self.was_native = False
        self.seconds = 0.0
        self._undo: _Undo | None = None
        self._listener: Callable[[], None] = lambda: None

    def listen(self, decided: Callable[[], None]) -> None:
        """Call `decided` whenever a function has been compiled or turned out not to be compilable."""
        self._listener = decided

    @property
    def compilers(self) -> tuple[str, str]:
        """The compilers of the forward passes and of the functions so far; empty: none, or not known."""
        steps = {getattr(function, "compiler", "") for function in self.functions.values()}
        return getattr(self.forward, "compiler", ""), ", ".join(sorted(steps - {""}))

    @property
    def compiles(self) -> bool:
        """Whether there is a compiler."""
        return self.compiler is not None

    def use(self, compiler: Compiler | None, forward: Forward | None) -> None:
        """Set what compiles functions and what runs forward passes in C."""
        self.compiler, self.forward = compiler, forward

    def function(
        self,
        key: tuple[object, ...],
        plain: Function,
        arguments: list[torch.Tensor],
        changing: tuple[int, ...],
        updates: int,
    ) -> Runs:
        """`eager_loop(plain, changing)`, compiled if that is possible.

        Args:
            key: the same for the same function and shapes.
            plain: one run.
            arguments: of K runs.
            changing: indices of the arguments (K, ...) that have one row per run.
            updates: the learner's updates so far.

        """
        if self.compiler is None:
            self.is_compiled = False
            return eager_loop(plain, changing)
        if key not in self.functions:
            once = [t[0] if i in changing else t for i, t in enumerate(arguments)]
            fast = self._compiled(self.compiler, plain, once, changing, updates)
            self.is_compiled = fast is not None
            if fast is None:
                self.forward = None
            self.functions[key] = eager_loop(plain, changing) if fast is None else fast
            self._listener()
        return self.functions[key]

    def _compiled(
        self,
        compiler: Compiler,
        plain: Function,
        arguments: list[torch.Tensor],
        changing: tuple[int, ...],
        updates: int,
    ) -> Runs | None:
        started, undo = time.perf_counter(), self._undo
        if undo is not None and undo.updates == updates:
            undo.save(self.state)
        try:
            many = len(self.functions) >= MAX_SHAPES
            return None if many else compiler(plain, arguments, changing)
        except UpdateInterrupted:
            if undo is not None and undo.copies:
                raise
            return None  # updates that cannot be undone were made: finish them uncompiled
        finally:
            self.seconds += time.perf_counter() - started

    @contextlib.contextmanager
    def undo_if_interrupted(self, updates: int) -> Iterator[None]:
        """Restore the state if the body is left by UpdateInterrupted."""
        self._undo = undo = _Undo(updates)
        try:
            yield
        except UpdateInterrupted:
            if undo.copies:
                for tensor, copy in zip(self.state, undo.copies, strict=True):
                    tensor.copy_(copy)
            raise
        finally:
            self._undo = None

    def state_dict(self) -> State:
        """Whether steps and forward passes are compiled, for the comparison of a resumed run."""
        compiled = self.was_compiled if self.is_compiled is None else self.is_compiled
        return {"compiled": compiled, "native": self.forward is not None}

    def load_state_dict(self, state: State) -> None:
        """Load a saved state; forward passes run in C only if they did in the saved run."""
        fields = Fields(state)
        known = fields.get("compiled", None) is not None
        self.was_compiled = fields.boolean("compiled") if known else None
        self.was_native = fields.boolean("native", default=False)
        if not self.was_native:
            self.forward = None
