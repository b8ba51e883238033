"""The learning step, once for every algorithm: gradient, clip, Adam, target.

An algorithm states its loss as a pure function of named parameters and tensors. Here all
parameters lie in ONE flat tensor and the named ones are views of it, so that a norm is one
reduction, Adam a handful of whole-vector operations, a target update one copy. The whole step is a
function of tensors of fixed shapes; `compile_with` lets something else run the same function faster.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch

from rl_cli.core.types import Arrays, Details, Metrics, Params, State
from rl_cli.engine.compiler import MAX_SHAPES, Asked, Compiler, Function, Runs, repeated
from rl_cli.engine.pytree import Form, put_together, take_apart

Loss = Callable[..., "tuple[torch.Tensor, Details]"]

BETA1, BETA2 = 0.9, 0.999  # Adam's, as in the paper


class Acting(Protocol):
    """Networks on a few rows, faster than `net.in_numpy`; answers that the next call writes over."""

    def __call__(self, net: Any, arrays: Arrays, x: np.ndarray) -> np.ndarray: ...

    def draw(self, net: Any, arrays: Arrays, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Of each row a choice, by the logits that the network gives."""
        ...


@dataclasses.dataclass
class Call:
    """A step made ready: it may be done again while tables and places of positions are the same."""

    inputs: tuple[object, ...]
    numbers: list[int]  # which of them are
    scalars: np.ndarray  # (K, numbers) float32, of each run
    at: int  # where they stand among the arguments
    arguments: list[torch.Tensor]
    function: Runs

    def fits(self, inputs: tuple[object, ...]) -> bool:
        """The same inputs but for numbers."""
        pairs = zip(inputs, self.inputs, strict=True)
        return len(inputs) == len(self.inputs) and all(
            a is b or type(a) is type(b) is float for a, b in pairs
        )


class Learner:
    """Parameters and their Adam state; `step` moves them down the gradient of `loss`.

    Args:
        params: initial values by name.
        loss: loss(params, *inputs) -> ((), metrics); with a target: loss(params, target, *inputs).
        max_grad_norm: the whole gradient is scaled down to this norm; None: never.
        max_grad_value: before that, each entry is clipped to this size; None: never.
        with_target: keep a second copy of the parameters that moves only by `update_target`.
        rate_factors: of the step size, for parameters of these names; 1 for the others.

    """

    def __init__(
        self,
        params: Params,
        loss: Loss,
        *,
        adam_eps: float,
        max_grad_norm: float | None,
        device: torch.device,
        max_grad_value: float | None = None,
        with_target: bool = False,
        rate_factors: Mapping[str, float] | None = None,
    ) -> None:
        self.loss = loss
        self.adam_eps = adam_eps
        self.max_grad_norm, self.max_grad_value = max_grad_norm, max_grad_value
        self.shapes = {name: value.shape for name, value in params.items()}
        factors = rate_factors or {}
        self.rate_factors = [(s.numel(), factors.get(n, 1.0)) for n, s in self.shapes.items()]
        self.one_rate = all(factor == 1.0 for _, factor in self.rate_factors)
        self.flat = torch.cat([p.detach().reshape(-1) for p in params.values()]).to(device)
        self.params = self._leaves(self.flat)
        self.momentum = torch.zeros_like(self.flat)  # Adam's m
        self.variance = torch.zeros_like(self.flat)  # Adam's v
        self.updates = 0
        self.flat_target = self.flat.clone() if with_target else None
        self.target = {} if self.flat_target is None else self._views(self.flat_target)
        self.arrays: Arrays | None = None  # the parameters once more, the same memory as numpy's
        if self.flat.device.type == "cpu":
            self.arrays = {name: v.numpy() for name, v in self._views(self.flat).items()}
        self.metric_names: tuple[str, ...] = ()
        self.call: Call | None = None  # the last one
        self.compiler: Compiler | None = None
        self.native: Acting | None = None  # only together with compiled steps
        self.compiled: dict[tuple[object, ...], Runs] = {}  # by the shapes of the inputs
        self.compile_seconds = 0.0
        self.is_compiled: bool | None = None  # None: not known before the first step
        self.was_compiled: bool | None = None  # where the state was saved that was loaded
        self.was_native = False  # the same

    def _views(self, flat: torch.Tensor) -> Params:
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), flat.split(sizes), strict=True)
        return {name: part.view(shape).detach() for (name, shape), part in parts}

    def _leaves(self, flat: torch.Tensor) -> Params:
        return {name: view.requires_grad_() for name, view in self._views(flat).items()}

    def update(self, *inputs: object, learning_rate: float) -> Metrics:
        """One update, or K of them one after the other.

        Args:
            inputs: of the loss after the parameters: tensors, NamedTuples of tensors, numbers, which
                the loss sees as tensors (), and `Rows`, whose K batches make K updates.
            learning_rate: Adam's step size.

        Returns:
            The loss and its metrics, and the gradient's norm before clipping, (K, ...) each.

        """
        call = self.call
        if call is None or not call.fits(inputs):
            call = self.call = self._prepared(inputs, learning_rate)
        numbers = [inputs[i] for i in call.numbers]
        self.write_scalars(call.scalars, learning_rate, numbers)
        if self.arrays is None:
            call.arguments[call.at] = torch.from_numpy(call.scalars).to(self.flat.device)
        metrics, *by_row = call.function(*call.arguments)
        columns = metrics.T if isinstance(metrics, np.ndarray) else metrics.unbind(1)
        return dict(zip(self.metric_names, (*columns, *by_row), strict=True))

    def write_scalars(
        self, scalars: np.ndarray, learning_rate: float, numbers: Sequence[object]
    ) -> None:
        """Count the next K updates and write the numbers that each reads.

        Args:
            scalars: (K, 2 + len(numbers)) float32, written: Adam's two rates and `numbers`.
            learning_rate: Adam's step size.
            numbers: the loss's inputs that are numbers.

        """
        for row in scalars:
            self.updates += 1
            row[:] = (*self.rates_of(learning_rate, self.updates), *numbers)

    def rates_of(self, learning_rate: float, count: int) -> tuple[float, float]:
        """Adam's step size and correction of the variance, of the `count`-th update."""
        return learning_rate / (1 - BETA1**count), (1 - BETA2**count) ** -0.5

    def _prepared(self, inputs: tuple[object, ...], learning_rate: float) -> Call:
        """A step with the numbers of its first update, to be used again with the same tables."""
        form, tensors, numbers, drawn = take_apart(inputs)
        first = (*self.rates_of(learning_rate, self.updates + 1), *(inputs[i] for i in numbers))
        runs = 1 if drawn is None else len(tensors[drawn])
        scalars = np.tile(np.array(first, np.float32), (runs, 1))
        arguments = [self.flat, self.momentum, self.variance]
        if self.flat_target is not None:
            arguments.append(self.flat_target)
        at = len(arguments)
        arguments += [torch.from_numpy(scalars), *tensors]
        changing = (at,) if drawn is None else (at, at + 1 + drawn)
        function = self._function(form, arguments, changing)
        return Call(inputs, numbers, scalars, at, arguments, function)

    def _function(
        self, form: Form, arguments: list[torch.Tensor], changing: tuple[int, ...]
    ) -> Runs:
        """The step for inputs of these shapes."""

        def plain(*arguments: torch.Tensor) -> list[torch.Tensor]:
            return self._update(form, *arguments)

        if self.compiler is None:
            self.is_compiled = False
            return repeated(plain, changing)
        shapes = tuple(
            [t.shape[-1:] if i in changing else t.shape for i, t in enumerate(arguments)]
        )
        if shapes not in self.compiled:
            once = [t[0] if i in changing else t for i, t in enumerate(arguments)]
            self.compiled[shapes] = self._compile(self.compiler, plain, once, changing)
        return self.compiled[shapes]

    def infer(
        self, function: Asked, *inputs: torch.Tensor, often: bool = True
    ) -> list[torch.Tensor]:
        """function(parameters, *inputs), without gradient.

        Args:
            function: of parameters and tensors; its answers are float32.
            inputs: the tensors.
            often: it will be asked again with inputs of these shapes, and is compiled where steps are.

        """

        def asked(*arguments: torch.Tensor) -> list[torch.Tensor]:
            flat, *others = arguments
            with torch.no_grad():
                return function(self._views(flat), *others)

        arguments = [self.flat, *inputs]
        if self.compiler is None or not often:
            return asked(*arguments)
        key = (function.__name__, *[t.shape for t in arguments])
        if key not in self.compiled:
            self.compiled[key] = self._compile(self.compiler, asked, arguments, ())
        return [torch.as_tensor(answer[0]) for answer in self.compiled[key](*arguments)]

    def _update(self, form: Form, *arguments: torch.Tensor) -> list[torch.Tensor]:
        """The step as a function of tensors alone: moves the first three, returns the metrics."""
        flat, momentum, variance, *others = arguments
        params = self.params if flat is self.flat else self._leaves(flat)
        targets = [self._views(others.pop(0))] if self.flat_target is not None else []
        rate, correction, *numbers = others.pop(0).unbind()
        inputs = put_together(form, others, numbers, flat.device)
        loss, metrics = self.loss(params, *targets, *inputs)
        gradient = _gradient(loss, params)
        norm = torch.linalg.vector_norm(gradient)
        length = norm
        if self.max_grad_value is not None:
            gradient = gradient.clamp(-self.max_grad_value, self.max_grad_value)
            length = torch.linalg.vector_norm(gradient)
        values = {"loss": loss.detach(), **metrics, "grad_norm": norm}
        by_row = {name: value for name, value in values.items() if value.dim()}
        single = {name: value for name, value in values.items() if name not in by_row}
        told = torch.stack(list(single.values()))
        if self.max_grad_norm is not None:
            scale = (self.max_grad_norm / (length + 1e-6)).clamp_max(1.0)
            told = torch.cat([told, scale.reshape(1)])
            # from memory: else it is worked out for each number anew
            gradient = gradient * told[-1]
        with torch.no_grad():  # Kingma & Ba 2015, Algorithm 1, on the whole vector at once
            rate = rate if self.one_rate else self._rates(rate)
            momentum.lerp_(gradient, 1 - BETA1)
            variance.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
            flat.sub_(rate * momentum / (variance.sqrt() * correction + self.adam_eps))
        self.metric_names = (*single, *by_row)
        return [told[: len(single)], *by_row.values()]

    def _rates(self, rate: torch.Tensor) -> torch.Tensor:
        """The step size of each parameter. () -> (P,)."""
        return torch.cat([(rate * factor).expand(size) for size, factor in self.rate_factors])

    def _compile(
        self,
        compiler: Compiler,
        plain: Function,
        arguments: list[torch.Tensor],
        changing: tuple[int, ...],
    ) -> Runs:
        many = len(self.compiled) >= MAX_SHAPES  # a loss whose inputs are never alike
        fast = None if many else compiler(plain, arguments, changing)
        self.is_compiled = fast is not None
        if fast is None:
            self.native = None  # all of a run is compiled or nothing, or resuming would mix them
        return repeated(plain, changing) if fast is None else fast

    def update_target(self, tau: float) -> None:
        """Target <- target + tau (online - target); tau = 1 is the hard copy."""
        target = cast(torch.Tensor, self.flat_target)
        target.copy_(self.flat) if tau == 1.0 else target.add_((self.flat - target).mul_(tau))

    def on_host(self, names: Sequence[str]) -> Arrays:
        """Parameters as numpy arrays: the same memory on the CPU, copies of these from elsewhere."""
        if self.arrays is not None:
            return self.arrays
        return {name: self.params[name].detach().cpu().numpy() for name in names}

    def policy_state(self) -> Params:
        """The parameters by name, as stored in a checkpoint's policy file."""
        return {name: view.detach().cpu().clone() for name, view in self.params.items()}

    def load_policy(self, params: Mapping[str, torch.Tensor]) -> None:
        """Take over parameters.

        Raises:
            ValueError: a name or a shape differs; says which.

        """
        for name, shape in self.shapes.items():
            if name not in params or params[name].shape != shape:
                found = tuple(params[name].shape) if name in params else "nothing"
                raise ValueError(f"{name} should be {tuple(shape)}, found {found}")
        if extra := set(params) - set(self.shapes):
            raise ValueError(f"unknown parameter {sorted(extra)[0]}")
        with torch.no_grad():
            for name, view in self.params.items():
                view.copy_(params[name])

    def state_dict(self) -> State:
        """All that a resumed run needs beside the policy."""
        state: State = {
            "momentum": self.momentum,
            "variance": self.variance,
            "updates": self.updates,
            "compiled": self.was_compiled if self.is_compiled is None else self.is_compiled,
            "native": self.native is not None,
        }
        if self.flat_target is not None:
            state["target"] = self.flat_target
        return state

    def load_state_dict(self, state: State) -> None:
        """Take up a saved state; its arrays may be numpy's or torch's."""
        self.momentum.copy_(torch.as_tensor(state["momentum"]))
        self.variance.copy_(torch.as_tensor(state["variance"]))
        self.updates = cast(int, state["updates"])
        self.was_compiled = cast("bool | None", state.get("compiled"))
        self.was_native = bool(state.get("native", False))
        if not self.was_native:  # nor does a run begin to on its way
            self.native = None
        if self.flat_target is not None:
            self.flat_target.copy_(torch.as_tensor(state["target"]))


def joined(history: Sequence[Metrics]) -> Metrics:
    """The metrics of several calls of `step` as of one."""
    if len(history) == 1:
        return history[0]
    names, on_host = history[0], isinstance(history[0]["loss"], np.ndarray)
    join: Callable[..., Any] = np.concatenate if on_host else torch.cat
    return {name: join([metrics[name] for metrics in history]) for name in names}


def _gradient(loss: torch.Tensor, params: Params) -> torch.Tensor:
    leaves = list(params.values())
    pieces = torch.autograd.grad(loss, leaves, allow_unused=True)
    with torch.no_grad():
        return torch.cat(
            [
                (torch.zeros_like(leaf) if g is None else g).reshape(-1)
                for leaf, g in zip(leaves, pieces, strict=True)
            ]
        )
