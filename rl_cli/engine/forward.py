"""Forward passes of small networks in C, in a fifth of the time that numpy's calls take.

`forward.c` is compiled once per machine, in a second, and kept in the cache. Without it the forward
pass runs in numpy: the same numbers but for rounding, so a run uses one of the two throughout.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from rl_cli.core.types import Arrays
from rl_cli.engine import build_cache
from rl_cli.models.networks import MLP

SOURCE = Path(__file__).with_name("forward.c")

Floats = ctypes.POINTER(ctypes.c_float)


class Network(ctypes.Structure):
    """`Network` of forward.c."""

    _fields_ = (
        ("rows", ctypes.c_int),
        ("layers", ctypes.c_int),
        ("tanh", ctypes.c_int),
        ("layer_norm", ctypes.c_int),
        ("sizes", ctypes.POINTER(ctypes.c_int)),
        ("weights", ctypes.POINTER(Floats)),
        ("biases", ctypes.POINTER(Floats)),
        ("x", Floats),
        ("hidden", Floats * 2),
        ("out", Floats),
    )


class NetworkForward:
    """The forward pass of one network on a fixed number of rows.

    Args:
        library: of forward.c.
        net: the network.
        arrays: parameters by name, float32 and contiguous. Their memory is read at each call.
        rows: rows of one call.

    """

    def __init__(self, library: ctypes.CDLL, net: MLP, arrays: Arrays, rows: int) -> None:
        self.x = np.empty((rows, net.sizes[0]), np.float32)
        self.out = np.empty((rows, net.sizes[-1]), np.float32)
        hidden = np.empty((2, rows, max(net.sizes)), np.float32)
        count = len(net.layers)
        weights, biases = zip(*net.layers, strict=True)
        self.kept = [*(arrays[name] for layer in net.layers for name in layer), hidden]
        self.network = Network(
            rows,
            count,
            net.activation.tanh,
            net.activation.layer_norm,
            (ctypes.c_int * (count + 1))(*net.sizes),
            (Floats * count)(*(_pointer(arrays[name]) for name in weights)),
            (Floats * count)(*(_pointer(arrays[name]) for name in biases)),
            _pointer(self.x),
            (Floats * 2)(*map(_pointer, hidden)),
            _pointer(self.out),
        )
        self.address = ctypes.addressof(self.network)
        self.run, self.choose = library.forward, library.choose
        self.run.argtypes, self.run.restype = (ctypes.c_void_p,), None
        self.points, self.picks = np.empty(rows), np.empty(rows, np.int64)
        self.addresses = self.points.ctypes.data, self.picks.ctypes.data
        self.choose.argtypes, self.choose.restype = (ctypes.c_void_p,) * 3, None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(rows, inputs) -> (rows, outputs), an array that the next call overwrites."""
        self.x[...] = x
        self.run(self.address)
        return self.out

    def sample(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One output index per row, sampled with the outputs as logits.

        (rows, inputs) -> (rows,) int64, an array that the next call overwrites.
        """
        self.x[...] = x
        rng.random(out=self.points)
        self.choose(self.address, *self.addresses)
        return self.picks


class NativeForward:
    """Forward passes of one learner's networks in C, prepared at the first use of each.

    Args:
        library: of forward.c.

    """

    def __init__(self, library: build_cache.Library) -> None:
        self.library, self.compiler = library, library.compiler
        # the networks are the keys and so stay alive: an id could be that of a later object
        self.known: dict[tuple[MLP, int], tuple[Arrays, NetworkForward]] = {}

    def __call__(self, net: MLP, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        """`net.in_numpy(arrays, x)`, (B, inputs) -> (B, outputs); the next call overwrites it."""
        return self.prepared(net, arrays, len(x))(x)

    def sample(
        self, net: MLP, arrays: Arrays, x: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Output indices sampled with the outputs as logits, (B, inputs) -> (B,) int64."""
        return self.prepared(net, arrays, len(x)).sample(x, rng)

    def prepared(self, net: MLP, arrays: Arrays, rows: int) -> NetworkForward:
        """The forward pass of `net` on this number of rows; made anew for other arrays."""
        kept, forward = self.known.get((net, rows), (None, None))
        if forward is None or kept is not arrays:
            forward = NetworkForward(self.library, net, arrays, rows)
            self.known[net, rows] = arrays, forward
        return forward


def load() -> NativeForward:
    """Forward passes in C, from the cache or compiled now.

    Raises:
        OSError, RuntimeError: there is no compiler, it failed, or the cache folder cannot be used.

    """
    return NativeForward(build_cache.load(SOURCE))


def _pointer(array: np.ndarray) -> ctypes._Pointer[ctypes.c_float]:
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    return array.ctypes.data_as(Floats)
