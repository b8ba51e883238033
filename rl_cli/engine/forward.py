"""Acting in machine code: a small network on a few rows, for a fifth of what numpy's calls cost.

`forward.c` is compiled once per machine, in a second, and kept in the cache. Without it `acting` asks
numpy: the same numbers but for rounding, which is why a run keeps to one of the two.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import torch

from rl_cli.core.types import Arrays
from rl_cli.engine import build_cache
from rl_cli.engine.learner import Learner
from rl_cli.models.networks import MLP, Encoder, Head, Identity


def outputs(
    learner: Learner,
    encoder: Encoder,
    head: Head,
    obs: np.ndarray,
    beside: Arrays | None = None,
    quick: bool = False,
) -> np.ndarray:
    """head(encoder(obs)) with the learner's parameters. (N, *obs_shape) -> (N, outputs).

    `beside`: what stands among the parameters but is not learned, by name. `quick`: in machine code,
    if the learner has some for it, into an array that the next call writes over. Rounding differs, so
    evaluation does without: what a checkpoint is worth must not depend on who has a compiler.

    Small networks on the CPU are evaluated in numpy, on the same memory: on a single row torch
    spends several times as long on its own account as on the arithmetic.
    """
    if learner.arrays is not None and isinstance(encoder, Identity):
        if quick and learner.native is not None and type(head) is MLP:
            return learner.native(head, learner.arrays, obs)
        return head.in_numpy(learner.arrays | beside if beside else learner.arrays, obs)
    device = learner.flat.device
    with torch.no_grad():
        x, params = torch.from_numpy(obs).to(device), learner.params
        if beside:
            params = params | {k: torch.from_numpy(v).to(device) for k, v in beside.items()}
        return head(params, encoder(params, x)).cpu().numpy()


def choices(
    learner: Learner, encoder: Encoder, head: Head, obs: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """One of the actions whose logits are head(encoder(obs)), each row's by chance. -> (N,) int64.

    In machine code, into an array that the next call writes over; None: the learner has none for it.
    """
    if learner.native is None or learner.arrays is None:
        return None
    if not isinstance(encoder, Identity) or type(head) is not MLP:
        return None
    return learner.native.draw(head, learner.arrays, obs, rng)


SOURCE = Path(__file__).with_name("forward.c")

Floats = ctypes.POINTER(ctypes.c_float)


class Network(ctypes.Structure):
    """`Network` of forward.c."""

    _fields_ = (
        ("rows", ctypes.c_int),
        ("layers", ctypes.c_int),
        ("tanh", ctypes.c_int),
        ("sizes", ctypes.POINTER(ctypes.c_int)),
        ("weights", ctypes.POINTER(Floats)),
        ("biases", ctypes.POINTER(Floats)),
        ("x", Floats),
        ("hidden", Floats * 2),
        ("out", Floats),
    )


class Forward:
    """One network on `rows` rows, its parameters read where they lie.

    Args:
        arrays: the parameters by name; their memory must stay where it is.

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
            net.tanh,
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
        self.places = self.points.ctypes.data, self.picks.ctypes.data
        self.choose.argtypes, self.choose.restype = (ctypes.c_void_p,) * 3, None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(rows, inputs) -> (rows, outputs), which the next call writes over."""
        self.x[...] = x
        self.run(self.address)
        return self.out

    def draw(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """By each row's outputs as logits one of them. (rows, inputs) -> (rows,), written over too."""
        self.x[...] = x
        rng.random(out=self.points)
        self.choose(self.address, *self.places)
        return self.picks


class Native:
    """The networks of one learner in machine code, each prepared when it is first asked."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.known: dict[tuple[int, int], Forward] = {}

    def __call__(self, net: MLP, arrays: Arrays, x: np.ndarray) -> np.ndarray:
        """`net.in_numpy(arrays, x)`. (B, inputs) -> (B, outputs), which the next call writes over."""
        return self.prepared(net, arrays, len(x))(x)

    def draw(self, net: MLP, arrays: Arrays, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A choice for each row, by its logits. (B, inputs) -> (B,), which the next call writes over."""
        return self.prepared(net, arrays, len(x)).draw(x, rng)

    def prepared(self, net: MLP, arrays: Arrays, rows: int) -> Forward:
        """`net` on so many rows at a time."""
        key = (id(net), rows)
        if key not in self.known:
            self.known[key] = Forward(self.library, net, arrays, rows)
        return self.known[key]


def load() -> Native:
    """The library, from the cache or made now.

    Raises:
        OSError, RuntimeError: there is no compiler, it failed, or no place to write to.

    """
    return Native(build_cache.load(SOURCE))


def _pointer(array: np.ndarray) -> ctypes._Pointer[ctypes.c_float]:
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    return array.ctypes.data_as(Floats)
