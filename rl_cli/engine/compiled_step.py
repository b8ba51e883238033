"""A compiled step, run several times in one call without returning to Python in between.

The step is a library built by `inductor`; `compiled_step.c` calls it once for each batch of rows. With
minibatches of 64 rows, returning to Python after each costs a quarter of the arithmetic and evicts
the data from the processor's caches.
"""

from __future__ import annotations

import ctypes
import functools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from rl_cli.engine import build_cache

SOURCE = Path(__file__).with_name("compiled_step.c")

MOST = 64
"""Inputs, or outputs, of a step: `MOST` of compiled_step.c."""

AT_ONCE = 256
"""Runs in one call of C. Python handles signals between calls."""

Pointer = ctypes.c_void_p

Size = ctypes.c_size_t


class Step(ctypes.Structure):
    """`Step` of compiled_step.c."""

    _fields_ = (
        ("container", Pointer),
        ("run", Pointer),
        ("another", Pointer),
        ("release", Pointer),
        ("memory", Pointer),
        ("inputs", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
        ("changing", ctypes.c_int32),
        ("handles", ctypes.POINTER(Pointer)),
        ("read", ctypes.POINTER(Pointer)),
        ("read_bytes", ctypes.POINTER(Size)),
        ("written_bytes", ctypes.POINTER(Size)),
    )


class CompiledStep:
    """The function of a library; a `functions.Runs`. `compiler`: what compiled it.

    Args:
        library: file of the compiled step; it reads and writes float32, and reads int64 positions.
        arguments: of one run, as examples of their shapes.
        outputs: of one run, as examples of their shapes.
        changing: indices of the arguments that have one row per run.
        constants: more arguments after these, the same in all runs.

    Raises:
        OSError, RuntimeError: the file is not a library, or not of this kind; it has too many
            arguments.

    """

    def __init__(
        self,
        library: Path,
        arguments: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        changing: Sequence[int],
        constants: Sequence[torch.Tensor] = (),
    ) -> None:
        inputs = len(arguments) + len(constants)
        if max(inputs, len(outputs)) > MOST:
            raise RuntimeError(f"the step has more than {MOST} inputs or outputs")
        model = build_cache.open_library(library)  # it stays loaded until the process ends
        self.compiler, self.runtime = model.compiler, _runtime_of(model)
        runtime = self.runtime
        self.changing, self.outputs = tuple(changing), outputs
        self.read = [torch.empty_like(arguments[i]) for i in changing]
        self.last: list[torch.Tensor | None] = [None] * len(arguments)  # of the last call
        self.handles, self.constants = (Pointer * inputs)(), constants
        for i, tensor in zip(
            (*changing, *range(len(arguments), inputs)), (*self.read, *constants), strict=True
        ):
            self.handles[i] = runtime.handle(tensor)
        self.sizes = [_bytes(tensor) for tensor in self.read], [_bytes(t) for t in outputs]
        self.step = Step(
            runtime.container, runtime.run, *runtime.shims, inputs, len(outputs), len(changing),
            self.handles, (Pointer * len(changing))(*(tensor.data_ptr() for tensor in self.read)),
            (Size * len(changing))(*self.sizes[0]), (Size * len(outputs))(*self.sizes[1]),
        )  # fmt: skip
        self.address = ctypes.addressof(self.step)
        self.repeat = build_cache.load(SOURCE).repeat
        self.repeat.argtypes = (Pointer, ctypes.c_int, Pointer, Pointer)
        self.results: list[np.ndarray] = []
        # for each call of C: number of runs, pointers to their rows and results
        self.chunks: list[tuple[int, Any, Any]] = []

    def __call__(self, *arguments: torch.Tensor) -> list[np.ndarray]:
        """K runs on the rows of the changing arguments (K, ...), or one run if none change.

        Returns:
            Each output, (K, ...).

        Raises:
            RuntimeError: the step failed.

        """
        if not all(map(operator.is_, arguments, self.last)):
            self._point_at(arguments)
        for count, rows, results in self.chunks:
            if self.repeat(self.address, count, rows, results):
                raise RuntimeError("the compiled update step failed")
        return [result.copy() for result in self.results]

    def _point_at(self, arguments: tuple[torch.Tensor, ...]) -> None:
        """Make the handles and pointers refer to these arguments."""
        for i, (tensor, before) in enumerate(zip(arguments, self.last, strict=True)):
            if i not in self.changing and tensor is not before:
                if before is not None:
                    self.runtime.release(cast(int, self.handles[i]))
                self.handles[i] = self.runtime.handle(tensor)
        self.last = list(arguments)
        changing = [arguments[i] for i in self.changing]
        runs = len(changing[0]) if changing else 1
        self.results = [np.empty((runs, *output.shape), np.float32) for output in self.outputs]
        read, written = [t.data_ptr() for t in changing], [r.ctypes.data for r in self.results]
        self.chunks = [
            (
                min(AT_ONCE, runs - first),
                _pointers(read, self.sizes[0], first),
                _pointers(written, self.sizes[1], first),
            )
            for first in range(0, runs, AT_ONCE)
        ]


def _pointers(addresses: list[int], sizes: list[int], run: int) -> ctypes.Array[Pointer]:
    """Pointers to the row of a run in each array, given the bytes of a row."""
    rows = [address + run * size for address, size in zip(addresses, sizes, strict=True)]
    return (Pointer * len(rows))(*rows)


class OwnRuntime:
    """Functions of a library that was compiled with tensor_runtime.h."""

    def __init__(self, model: ctypes.CDLL) -> None:
        self.container, self.run = Pointer(), _address(model, "step_run")
        self.shims = [_address(model, f"step_{name}") for name in ("another", "release", "memory")]
        self.make, self.forget = model.step_tensor, model.step_forget
        self.make.argtypes = (Pointer, ctypes.c_int64, Pointer, Pointer, ctypes.c_int64)
        self.make.restype = Pointer

    def handle(self, tensor: torch.Tensor) -> int:
        """A new handle of the tensor's memory and shape; the library does not keep the tensor alive."""
        dims = tensor.dim()
        sizes, strides = ((ctypes.c_int64 * dims)(*x) for x in (tensor.shape, tensor.stride()))
        item = tensor.element_size()
        return cast(int, self.make(tensor.data_ptr(), dims, sizes, strides, item))

    def release(self, handle: int) -> None:
        self.forget(Pointer(handle))


class TorchRuntime:
    """Functions of a library that was compiled with torch's runtime.

    Raises:
        RuntimeError: it is another kind of library, or torch could not create its model.

    """

    def __init__(self, model: ctypes.CDLL) -> None:
        self.container = Pointer()
        try:
            make = model.AOTInductorModelContainerCreateWithDevice
            failed = make(ctypes.byref(self.container), Size(1), b"cpu", None)
            self.run = _address(model, "AOTInductorModelContainerRunSingleThreaded")
        except AttributeError as error:
            raise RuntimeError(f"the library lacks a function: {error}") from error
        if failed:
            raise RuntimeError("the library's model could not be created")
        libtorch = _libtorch()
        names = ("new_tensor_handle", "delete_tensor_object", "get_data_ptr")
        self.shims = [_address(libtorch, f"aoti_torch_{name}") for name in names]
        self.delete = libtorch.aoti_torch_delete_tensor_object

    def handle(self, tensor: torch.Tensor) -> int:
        """A new handle of the tensor; it does not keep the tensor's Python object alive."""
        return cast(
            int, _pointer_of(torch._C._aoti.unsafe_alloc_void_ptr_from_tensor(tensor), None)
        )

    def release(self, handle: int) -> None:
        self.delete(Pointer(handle))


@functools.cache
def _libtorch() -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))


def _runtime_of(model: ctypes.CDLL) -> OwnRuntime | TorchRuntime:
    return OwnRuntime(model) if hasattr(model, "step_run") else TorchRuntime(model)


def _address(library: ctypes.CDLL, name: str) -> Pointer:
    return ctypes.cast(getattr(library, name), Pointer)


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer

_pointer_of.restype, _pointer_of.argtypes = Pointer, (ctypes.py_object, ctypes.c_char_p)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
