"""The learning step as machine code: torch's ahead-of-time compiler, and a cache on disk.

A compiled step is a small shared library. Making one takes ten seconds and a C++ compiler; loading it
from the cache takes a millisecond, and neither the compiler nor torch's compile packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rl_cli.engine.build_cache import (
    alone,
    cache_folder,
    digest,
    find_compiler,
    forget_oldest,
    machine,
    place,
    undisturbed,
)
from rl_cli.engine.compiled_step import Repeated
from rl_cli.engine.inductor import build, constants_of, way_of_building

Function = Callable[..., "list[torch.Tensor]"]

Asked = Callable[..., "list[torch.Tensor]"]

Runs = Callable[..., "Sequence[torch.Tensor] | Sequence[np.ndarray]"]

Compiler = Callable[[Function, "list[torch.Tensor]", "Sequence[int]"], "Runs | None"]
"""compiler(function, arguments, changing) -> `repeated(function, changing)`, faster; None: it cannot be
had. It may call the function with copies of the first `WRITTEN` arguments, which it writes to."""

WRITTEN = 3  # parameters, Adam's m and v

MAX_SHAPES = 4  # for which the step is compiled


def repeated(function: Function, changing: Sequence[int]) -> Runs:
    """K runs of a function: of the `changing` arguments (K, ...) a row each. -> (K, ...) each.

    One run, if none change.
    """

    def run(*arguments: torch.Tensor) -> list[torch.Tensor]:
        answers = [
            function(*(t[k] if i in changing else t for i, t in enumerate(arguments)))
            for k in range(len(arguments[changing[0]]) if changing else 1)
        ]
        return [torch.stack(column) for column in zip(*answers, strict=True)]

    return run


def lift(graph: torch.fx.GraphModule, settings: Collection[float]) -> list[float]:
    """Make an argument (K,) of those constants that x c and x / c take from `settings`.

    Sums keep theirs: a product and a number more would be taken for a product with its bias. -> their
    values, in its order; none, and no argument, where there are none.
    """
    aten, nodes = torch.ops.aten, graph.graph
    takes_two = (aten.mul.Tensor, aten.div.Tensor)
    users = [
        node
        for node in nodes.nodes
        if node.target in takes_two and isinstance(node.args[1], float) and node.args[1] in settings
    ]
    values = list(dict.fromkeys(node.args[1] for node in users))
    if not values:
        return []
    last = [node for node in nodes.nodes if node.op == "placeholder"][-1]
    with nodes.inserting_after(last):
        given = nodes.placeholder("settings")
    for i, value in enumerate(values):
        with nodes.inserting_after(given):
            number = nodes.call_function(aten.select.int, (given, 0, i))
        for node in users:
            if node.args[1] == value:
                node.args = (node.args[0], number, *node.args[2:])
    graph.recompile()
    return values


COMPILING = "compiling the learning step: some ten seconds, the first time; compile=false: without"


class StepCompiler:
    """Compiles functions of tensors, or finds them in the cache.

    Args:
        identity: all that a function's arithmetic depends on beside the shapes of its arguments.
        notify: told once when it has to compile, and why when it cannot.
        settings: constants that a run like it may have others of, with the same library.

    """

    def __init__(
        self, identity: str, notify: Callable[[str], None], settings: Collection[float] = ()
    ) -> None:
        self.identity, self.notify, self.settings = identity, notify, settings

    def __call__(
        self, function: Function, arguments: list[torch.Tensor], changing: Sequence[int]
    ) -> Runs | None:
        """`repeated(function, changing)` compiled for these shapes; None where that is not possible.

        Two names lead to a library: that of the configuration, found without tracing anything, and
        that of the arithmetic, which many configurations share (all learning rates, or gammas, say).
        """
        shapes = str([(tuple(a.shape), a.dtype) for a in arguments])
        try:
            named = digest(self.identity, function.__name__, shapes, way_of_building(), machine())
            known = cache_folder() / f"{named}.txt"
            with contextlib.suppress(OSError, RuntimeError, ValueError):  # not there, or of no use
                name, *values = known.read_text().split()
                lifted = [float(value) for value in values]
                return checked(cache_folder() / name, function, arguments, changing, lifted)
            library, lifted = self._compile(function, arguments, shapes)
            line = " ".join([library.name, *map(repr, lifted)])
            place(known, lambda path: path.write_text(line))
            return checked(library, function, arguments, changing, lifted)
        except Exception as error:  # a compiler, a linker, a disk: anything may be missing
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            self.notify(f"the learning step runs uncompiled, slower: {reason}")
            return None

    def _compile(
        self, function: Function, arguments: list[torch.Tensor], shapes: str
    ) -> tuple[Path, list[float]]:
        """-> the library, and the settings that it is to be given."""
        find_compiler()  # torch's own complaint would be a page
        graph = trace(function, copied(arguments))
        lifted = lift(graph, self.settings)
        library = (
            cache_folder() / f"{digest(arithmetic(graph), shapes, way_of_building(), machine())}.so"
        )
        with alone(library.with_suffix(".lock")):  # runs of a sweep want the same at the same time
            if not _loads(library):
                self.notify(COMPILING)
                with undisturbed():
                    every = [*arguments, *given(lifted)]
                    place(library, lambda path: build(graph, every, path, self.notify))
                forget_oldest()
        return library, lifted


def given(lifted: Sequence[float]) -> list[torch.Tensor]:
    """The argument that stands for lifted settings; none without."""
    return [torch.tensor(lifted)] if lifted else []


def copied(arguments: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same arguments, of those that are written to copies."""
    return [*(a.clone() for a in arguments[:WRITTEN]), *arguments[WRITTEN:]]


def checked(
    library: Path,
    plain: Function,
    arguments: list[torch.Tensor],
    changing: Sequence[int],
    lifted: Sequence[float] = (),
) -> Runs:
    """The library's function repeated, if one trial gives what `plain` gives.

    Raises:
        OSError, RuntimeError: it is no library; it does not: made for another loss, perhaps, whose
            source we could not see.

    """
    with contextlib.suppress(OSError):  # somebody else's, or read-only
        os.utime(library)  # those in use are the newest
    one, other = copied(arguments), copied(arguments)
    answer = plain(*one)
    fast = Repeated(library, arguments, answer, changing, given(lifted))
    found = fast(*(t[None] if i in changing else t for i, t in enumerate(other)))
    expected, there = [*one[1:WRITTEN], *answer], [*other[1:WRITTEN], *map(first_row, found)]
    if changing:  # a step: it has moved the parameters
        # where there is next to no gradient, Adam's step is of the size of its rounding
        seen = one[2] > 1e-4 * one[2].max()
        expected.append((one[0] - arguments[0])[seen])
        there.append((other[0] - arguments[0])[seen])
    if not all(map(_close, expected, there)):
        raise RuntimeError("the compiled step differs from the plain one")
    return fast


def first_row(answers: np.ndarray | torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(answers[0])


def _close(expected: torch.Tensor, found: torch.Tensor) -> bool:
    """Equal but for rounding, within a thousandth of the largest entry; or no numbers at all."""
    if not bool(expected.isfinite().all()):
        return not bool(found.isfinite().all())
    size = float(expected.abs().max()) if expected.numel() else 0.0
    return bool(((expected - found).abs() <= 1e-3 * size + 1e-6).all())


def trace(function: Function, arguments: list[torch.Tensor]) -> torch.fx.GraphModule:
    """The function as a list of operations, its gradient taken."""
    from torch.fx.experimental.proxy_tensor import make_fx

    aten = torch.ops.aten
    cheaper: dict[Any, Callable[..., Any]] = {
        aten.tanh.default: rational_tanh,
        aten.mm.default: product_of_narrow,
    }
    return make_fx(function, decomposition_table=cheaper)(*arguments)


TANH_ODD = (0.99999990637, 0.13373199054, 3.4865834330e-3, 2.0471853138e-5, 1.3184250320e-8)

TANH_EVEN = (1.0, 0.46706495922, 2.5841985236e-2, 3.2713877851e-4, 7.7026753326e-7)

TANH_END = 9.0


def rational_tanh(x: torch.Tensor) -> torch.Tensor:
    """Hyperbolic tangent within 4e-7, in 20 operations that fuse with their neighbours.

    x P(x^2) / Q(x^2), fitted by iterated least squares on [0, 9], where tanh is 1 for a float32.
    """
    x = x.clamp(-TANH_END, TANH_END)
    square = x * x
    odd: torch.Tensor | float = TANH_ODD[-1]
    even: torch.Tensor | float = TANH_EVEN[-1]
    for p, q in zip(TANH_ODD[-2::-1], TANH_EVEN[-2::-1], strict=True):
        odd, even = odd * square + p, even * square + q
    return x * odd / even


NARROW = 16
"""Columns up to which a product is taken of the transposed factors, for which MKL is quicker."""


def product_of_narrow(a: torch.Tensor, b: torch.Tensor) -> Any:
    """(m, k) (k, n) -> (m, n), a first layer's gradient mostly: n is the size of an observation."""
    if b.shape[1] <= NARROW < a.shape[0]:
        return torch.mm(b.t(), a.t()).t()
    return NotImplemented


def arithmetic(graph: torch.fx.GraphModule) -> str:
    """The operations and every constant among them, as text."""
    constants = constants_of(graph)
    return graph.code + str({name: value.tolist() for name, value in constants.items()})


def _loads(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


def source_digest(*modules: Any) -> str:
    """Of this package's source and that of other modules: a changed loss is another function."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    files += [Path(m.__file__) for m in modules if getattr(m, "__file__", None)]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
