"""A compiled learning step run many times in one call, without a return to Python in between.

The step is a library made by torch's ahead-of-time compiler; `compiled_step.c` calls it as torch's own
runner would, once for each set of rows. Of a minibatch of 64 rows the way through Python and back
costs a quarter of the arithmetic, and leaves the caches cold.
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
"""Inputs, or outputs: `MOST` of compiled_step.c."""

AT_ONCE = 256
"""Runs of one call: a signal is heard in between."""

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


class Repeated:
    """A library's function of arguments of which some have a row for each run.

    Args:
        library: file of the compiled step; it reads and writes float32, and int64 positions.
        arguments: of one run, as examples of their shapes.
        outputs: what it answered, as examples of theirs.
        changing: places of the arguments that are others in each run.
        beside: arguments after these, always the same.

    Raises:
        OSError, RuntimeError: it is no library, or cannot be run this way.

    """

    def __init__(
        self,
        library: Path,
        arguments: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        changing: Sequence[int],
        beside: Sequence[torch.Tensor] = (),
    ) -> None:
        inputs = len(arguments) + len(beside)
        if max(inputs, len(outputs)) > MOST:
            raise RuntimeError(f"it has more than {MOST} inputs or outputs")
        self.functions = functions = _opened(library)
        self.changing, self.outputs = tuple(changing), outputs
        self.read = [torch.empty_like(arguments[i]) for i in changing]
        self.given: list[torch.Tensor | None] = [None] * len(arguments)  # when it was called last
        self.handles, self.beside = (Pointer * inputs)(), beside
        for i, tensor in zip(
            (*changing, *range(len(arguments), inputs)), (*self.read, *beside), strict=True
        ):
            self.handles[i] = functions.handle(tensor)
        self.sizes = [_bytes(tensor) for tensor in self.read], [_bytes(t) for t in outputs]
        self.step = Step(
            functions.container, functions.run, *functions.shims, inputs, len(outputs), len(changing),
            self.handles, (Pointer * len(changing))(*(tensor.data_ptr() for tensor in self.read)),
            (Size * len(changing))(*self.sizes[0]), (Size * len(outputs))(*self.sizes[1]),
        )  # fmt: skip
        self.address = ctypes.addressof(self.step)
        self.repeat = build_cache.load(SOURCE).repeat
        self.repeat.argtypes = (Pointer, ctypes.c_int, Pointer, Pointer)
        self.results: list[np.ndarray] = []
        self.chunks: list[tuple[int, Any, Any]] = []  # runs of one call, their rows and results

    def __call__(self, *arguments: torch.Tensor) -> list[np.ndarray]:
        """Run after run; of the changing arguments (K, ...) one row each. -> (K, ...) each.

        One run, if none change.
        """
        if not all(map(operator.is_, arguments, self.given)):
            self._take(arguments)
        for count, rows, results in self.chunks:
            if self.repeat(self.address, count, rows, results):
                raise RuntimeError("the compiled learning step failed")
        return [result.copy() for result in self.results]

    def _take(self, arguments: tuple[torch.Tensor, ...]) -> None:
        """Look up where these arguments lie."""
        for i, (tensor, before) in enumerate(zip(arguments, self.given, strict=True)):
            if i not in self.changing and tensor is not before:
                if before is not None:
                    self.functions.release(cast(int, self.handles[i]))
                self.handles[i] = self.functions.handle(tensor)
        self.given = list(arguments)
        changing = [arguments[i] for i in self.changing]
        runs = len(changing[0]) if changing else 1
        self.results = [np.empty((runs, *output.shape), np.float32) for output in self.outputs]
        places = [t.data_ptr() for t in changing], [r.ctypes.data for r in self.results]
        self.chunks = [
            (
                min(AT_ONCE, runs - begun),
                _pointers(places[0], self.sizes[0], begun),
                _pointers(places[1], self.sizes[1], begun),
            )
            for begun in range(0, runs, AT_ONCE)
        ]


def _pointers(places: list[int], sizes: list[int], begun: int) -> ctypes.Array[Pointer]:
    """To the rows of run `begun` in each array."""
    rows = [place + begun * size for place, size in zip(places, sizes, strict=True)]
    return (Pointer * len(rows))(*rows)


class OnStepH:
    """A library that has its own tensors: tensor_runtime.h, a pointer and a shape each."""

    def __init__(self, model: ctypes.CDLL) -> None:
        self.container, self.run = Pointer(), _address(model, "step_run")
        self.shims = [_address(model, f"step_{name}") for name in ("another", "release", "memory")]
        self.make, self.forget = model.step_tensor, model.step_forget
        self.make.argtypes = (Pointer, ctypes.c_int64, Pointer, Pointer, ctypes.c_int64)
        self.make.restype = Pointer

    def handle(self, tensor: torch.Tensor) -> int:
        """What the library knows a tensor by; it does not keep the tensor."""
        dims = tensor.dim()
        sizes, strides = ((ctypes.c_int64 * dims)(*x) for x in (tensor.shape, tensor.stride()))
        item = tensor.element_size()
        return cast(int, self.make(tensor.data_ptr(), dims, sizes, strides, item))

    def release(self, handle: int) -> None:
        self.forget(Pointer(handle))


class OnTorch:
    """A library that torch has made, with torch's tensors.

    Raises:
        RuntimeError: it is another kind of library, or could not be loaded.

    """

    def __init__(self, model: ctypes.CDLL) -> None:
        self.container = Pointer()
        try:
            make = model.AOTInductorModelContainerCreateWithDevice
            failed = make(ctypes.byref(self.container), Size(1), b"cpu", None)
            self.run = _address(model, "AOTInductorModelContainerRunSingleThreaded")
        except AttributeError as error:
            raise RuntimeError(f"it is another kind of library: {error}") from error
        if failed:
            raise RuntimeError("it could not be loaded")
        torchs = _torch()
        names = ("new_tensor_handle", "delete_tensor_object", "get_data_ptr")
        self.shims = [_address(torchs, f"aoti_torch_{name}") for name in names]
        self.delete = torchs.aoti_torch_delete_tensor_object

    def handle(self, tensor: torch.Tensor) -> int:
        """What compiled models know a tensor by. It does not keep the tensor's Python object."""
        return cast(
            int, _pointer_of(torch._C._aoti.unsafe_alloc_void_ptr_from_tensor(tensor), None)
        )

    def release(self, handle: int) -> None:
        self.delete(Pointer(handle))


@functools.cache
def _torch() -> ctypes.CDLL:
    return ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))


def _opened(library: Path) -> OnStepH | OnTorch:
    """It stays until the process ends."""
    model = ctypes.CDLL(str(library))
    return OnStepH(model) if hasattr(model, "step_run") else OnTorch(model)


def _address(library: ctypes.CDLL, name: str) -> Pointer:
    return ctypes.cast(getattr(library, name), Pointer)


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer

_pointer_of.restype, _pointer_of.argtypes = Pointer, (ctypes.py_object, ctypes.c_char_p)


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
