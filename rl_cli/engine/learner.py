"""Parameters, and the update step of every algorithm: gradient, clipping, optimizer, target network.

An algorithm states its loss as a pure function of named parameters and tensors. All parameters are views of one
flat tensor: a norm is one reduction, a target update one copy. The whole step is a function of tensors of fixed
shapes, which a compiler set by `compile_with` may replace with a compiled one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch

from rl_cli.core.errors import UpdateInterrupted
from rl_cli.core.fields import Fields
from rl_cli.core.types import Arrays, Metrics, Params, State
from rl_cli.engine.compilation import Compilation, Forward
from rl_cli.engine.flat_params import FlatParams
from rl_cli.engine.functions import Compiler, Function, Runs
from rl_cli.engine.optimizers import Optimizer, Schedule
from rl_cli.engine.prepared_call import PreparedCall
from rl_cli.engine.pytree import Structure, flatten
from rl_cli.engine.step import Loss, Step
from rl_cli.models.networks import MLP, Encoder, Head, Identity


class Learner:
    """Parameters and the state of their optimizer.

    `update` takes gradient steps, `infer` and `forward` evaluate functions of the parameters. What is
    compiled is decided by `compile_with`; the results are the same except for rounding.

    A gradient that is not finite spoils the parameters. `update` returns its norm and leaves the check to the
    caller: on a GPU a check of every update would wait for it.

    Attributes:
        flat: all parameters, (P,). `params`: views of it, by name.
        flat_target: the target network's parameters, (P,), or None. `target`: views of it, by name.
        arrays: the parameters as numpy arrays that share memory with `flat`; None on a GPU.
        updates: number of updates so far.

    Args:
        params: initial values by name.
        loss: loss(params, *inputs) -> ((), metrics); with a target: loss(params, target, *inputs).
        optimizer: of all parameters: see `engine.optimizers`.
        max_grad_norm: scale the gradient down to this norm; None: no limit.
        device: of the parameters.
        max_grad_value: before that, clip each entry to this magnitude; None: no limit.
        with_target: keep a second copy of the parameters that only `update_target` changes.
        rate_factors: factors of the step size by name of a parameter; 1 for the others.
        intervals: by name of a parameter, it changes in each of so many updates; 1 for the others.

    """

    def __init__(
        self,
        params: Params,
        loss: Loss,
        *,
        optimizer: Optimizer,
        max_grad_norm: float | None,
        device: torch.device,
        max_grad_value: float | None = None,
        with_target: bool = False,
        rate_factors: Mapping[str, float] | None = None,
        intervals: Mapping[str, int] | None = None,
    ) -> None:
        layout = self._layout = FlatParams(params)
        self.flat = torch.cat([p.detach().reshape(-1) for p in params.values()]).to(device)
        self.params = layout.leaves(self.flat)
        self.first_moment = torch.zeros_like(self.flat)
        self.second_moment = torch.zeros_like(self.flat)
        self.updates = 0
        self.flat_target = self.flat.clone() if with_target else None
        self.target = {} if self.flat_target is None else layout.views(self.flat_target)
        self.arrays: Arrays | None = None
        if self.flat.device.type == "cpu":
            self.arrays = {name: v.numpy() for name, v in layout.views(self.flat).items()}
        self._schedule = Schedule(optimizer, layout, rate_factors or {}, intervals or {})
        self._step = Step(
            loss, layout, self.flat, self.params, schedule=self._schedule,
            max_grad_norm=max_grad_norm, max_grad_value=max_grad_value, with_target=with_target,
        )  # fmt: skip
        self._state = [self.flat, self.first_moment, self.second_moment]
        if self.flat_target is not None:
            self._state.append(self.flat_target)
        self._compilation = Compilation(self._state)
        self._call: PreparedCall | None = None

    def compile_with(self, compiler: Compiler | None, forward: Forward | None = None) -> None:
        """Compile steps with `compiler`, and run forward passes of small networks with `forward`."""
        self._compilation.use(compiler, forward)

    @property
    def is_compiled(self) -> bool | None:
        """Whether steps are compiled; None before the first update."""
        return self._compilation.is_compiled

    @property
    def awaits_compiling(self) -> bool:
        """Whether the next update may build a library: there is a compiler and nothing is compiled."""
        return self._compilation.compiles and self.is_compiled is None

    def when_decided(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a function has been compiled or turned out not to be compilable."""
        self._compilation.listen(listener)

    @property
    def compilers(self) -> tuple[str, str]:
        """The compilers of the forward passes and of the steps so far; empty: none, or not known."""
        return self._compilation.compilers

    @property
    def compile_seconds(self) -> float:
        """Seconds spent on building, loading and comparing compiled functions."""
        return self._compilation.seconds

    @property
    def native(self) -> Forward | None:
        """Forward passes in C; None: in numpy or torch."""
        return self._compilation.forward

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Keys of the metrics that `update` returns; empty before the first update."""
        return self._step.metric_names

    @property
    def last_call(self) -> PreparedCall | None:
        """The last update with its inputs flattened; None before the first update."""
        return self._call

    @property
    def was_compiled(self) -> bool | None:
        """`is_compiled` of the run that saved the loaded state; None: not known."""
        return self._compilation.was_compiled

    @property
    def was_native(self) -> bool:
        """Whether the run that saved the loaded state ran forward passes in C."""
        return self._compilation.was_native

    def update(self, *inputs: object, learning_rate: float) -> Metrics:
        """One update, or K updates one after the other.

        Args:
            inputs: of the loss after the parameters: tensors, NamedTuples of tensors, numbers, which
                the loss receives as tensors (), and `Rows`, whose K batches make K updates.
            learning_rate: step size of the optimizer.

        Returns:
            The loss, its metrics, and the gradient's norm before clipping, (K, ...) each.

        Raises:
            UpdateInterrupted: see `undo_if_interrupted`.

        """
        call = self._call
        if call is None or not call.fits(inputs):
            call = self._call = self._prepared(inputs, learning_rate)
        numbers = [inputs[i] for i in call.numbers]
        self.write_scalars(call.scalars, learning_rate, numbers)
        if self.arrays is None:
            scalars = torch.from_numpy(call.scalars).to(self.flat.device)
            call.arguments[call.scalars_index] = scalars
        metrics, *by_row = call.function(*call.arguments)
        columns = metrics.T if isinstance(metrics, np.ndarray) else metrics.unbind(1)
        return dict(zip(self.metric_names, (*columns, *by_row), strict=True))

    def infer(
        self, function: Function, *inputs: torch.Tensor, repeated: bool = True
    ) -> list[torch.Tensor]:
        """function(params, *inputs), without gradient.

        Args:
            function: of named parameters and tensors; its outputs are float32.
            inputs: the tensors.
            repeated: inputs of these shapes will come again, so compile the function where steps are
                compiled.

        """

        def flat_function(*arguments: torch.Tensor) -> list[torch.Tensor]:
            flat, *others = arguments
            with torch.no_grad():
                return function(self._layout.views(flat), *others)

        arguments = [self.flat, *inputs]
        if not self._compilation.compiles or not repeated:
            return flat_function(*arguments)
        key = (function.__name__, *[t.shape for t in arguments])
        run = self._compilation.function(key, flat_function, arguments, (), self.updates)
        return [torch.as_tensor(output[0]) for output in run(*arguments)]

    def forward(
        self,
        encoder: Encoder,
        head: Head,
        obs: np.ndarray,
        *,
        extra: Arrays | None = None,
        native: bool = False,
    ) -> np.ndarray:
        """head(encoder(obs)), without gradient. (N, *obs_shape) -> (N, outputs).

        Small networks on the CPU run in numpy: for a single row torch takes several times as long for
        its calls as for the arithmetic.

        Args:
            encoder: its parameters are this learner's.
            head: likewise.
            obs: observations.
            extra: values that the networks look up among the parameters but that are not learned.
            native: run in C if `compile_with` set a way to, into an array that the next call
                overwrites. The rounding differs, so evaluation does not use it: a policy's returns do
                not depend on whether there is a compiler.

        """
        if self.arrays is not None and isinstance(encoder, Identity):
            if native and self.native is not None and type(head) is MLP:
                return self.native(head, self.arrays, obs)
            return head.in_numpy(self.arrays | extra if extra else self.arrays, obs)
        device = self.flat.device
        with torch.no_grad():
            x, params = torch.from_numpy(obs).to(device), self.params
            if extra:
                params = params | {k: torch.from_numpy(v).to(device) for k, v in extra.items()}
            return head(params, encoder(params, x)).cpu().numpy()

    def sample(
        self, encoder: Encoder, head: Head, obs: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | None:
        """One index per row, sampled with head(encoder(obs)) as logits. (N, *obs_shape) -> (N,) int64.

        Runs in C, into an array that the next call overwrites; None where `forward` would not.
        """
        if self.native is None or self.arrays is None:
            return None
        if not isinstance(encoder, Identity) or type(head) is not MLP:
            return None
        return self.native.sample(head, self.arrays, obs, rng)

    def write_scalars(
        self, scalars: np.ndarray, learning_rate: float, numbers: Sequence[object]
    ) -> None:
        """Count the next K updates and write the numbers that each of them reads.

        Args:
            scalars: (K, n + len(numbers)) float32, written: n numbers of the optimizer, and `numbers`.
            learning_rate: step size of the optimizer.
            numbers: the inputs of the loss that are numbers.

        """
        for row in scalars:
            self.updates += 1
            row[:] = (*self._schedule.numbers(learning_rate, self.updates), *numbers)

    def update_target(self, tau: float) -> None:
        """Target <- target + tau (online - target); tau=1 copies."""
        target = cast(torch.Tensor, self.flat_target)
        target.copy_(self.flat) if tau == 1.0 else target.add_((self.flat - target).mul_(tau))

    def on_host(self, names: Sequence[str]) -> Arrays:
        """Parameters as numpy arrays: all of them, sharing memory, on the CPU; else copies of these."""
        if self.arrays is not None:
            return self.arrays
        return {name: self.params[name].detach().cpu().numpy() for name in names}

    @contextlib.contextmanager
    def undo_if_interrupted(self) -> Iterator[None]:
        """Undo the updates made in the body if it is left by UpdateInterrupted.

        A compiler raises that when a signal stops the run while it builds. Parameters, Adam's state
        and the target network are then what they were before the body.
        """
        updates = self.updates
        try:
            with self._compilation.undo_if_interrupted(updates):
                yield
        except UpdateInterrupted:
            self.updates = updates
            raise

    def _prepared(self, inputs: tuple[object, ...], learning_rate: float) -> PreparedCall:
        """A call with the numbers of the next update."""
        structure, tensors, numbers, positions = flatten(inputs)
        rates = self._schedule.numbers(learning_rate, self.updates + 1)
        runs = 1 if positions is None else len(tensors[positions])
        # the compiler compares one update, so the scalars must be valid already
        scalars = np.tile(np.array([*rates, *(inputs[i] for i in numbers)], np.float32), (runs, 1))
        arguments = list(self._state)
        index = len(arguments)
        arguments += [torch.from_numpy(scalars), *tensors]
        changing = (index,) if positions is None else (index, index + 1 + positions)
        function = self._function(structure, arguments, changing)
        return PreparedCall(inputs, numbers, scalars, index, arguments, function)

    def _function(
        self, structure: Structure, arguments: list[torch.Tensor], changing: tuple[int, ...]
    ) -> Runs:
        """The step for inputs of these shapes."""

        def plain(*arguments: torch.Tensor) -> list[torch.Tensor]:
            return self._step(structure, *arguments)

        shapes = tuple(
            [t.shape[-1:] if i in changing else t.shape for i, t in enumerate(arguments)]
        )
        return self._compilation.function(shapes, plain, arguments, changing, self.updates)

    def policy_state(self) -> Params:
        """Copies of the parameters by name, as stored in a checkpoint's policy file."""
        return {name: view.detach().cpu().clone() for name, view in self.params.items()}

    def load_policy(self, params: Mapping[str, torch.Tensor]) -> None:
        """Copy parameters.

        Raises:
            ValueError: names the first parameter that is missing, unknown or of another shape.

        """
        self._layout.require(params)
        with torch.no_grad():
            for name, view in self.params.items():
                view.copy_(params[name])

    def state_dict(self) -> State:
        """Everything that a resumed run needs besides the policy."""
        target = {} if self.flat_target is None else {"target": self.flat_target}
        return {
            **{"momentum": self.first_moment, "variance": self.second_moment},
            "updates": self.updates,
            **self._compilation.state_dict(),
            **target,
        }

    def load_state_dict(self, state: State) -> None:
        """Load a saved state; its arrays may be of numpy or torch. Raises StateError."""
        fields, shape = Fields(state), tuple(self.flat.shape)
        own = {"momentum": self.first_moment, "variance": self.second_moment}
        for name, tensor in (own | {"target": self.flat_target}).items():
            if tensor is not None:
                low = 0.0 if name == "variance" else None
                tensor.copy_(torch.from_numpy(fields.array(name, shape, np.float32, low)))
        self.updates = fields.integer("updates")
        self._compilation.load_state_dict(state)
