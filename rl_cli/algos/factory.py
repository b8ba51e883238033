"""Builds an algorithm for given envs: checks actions, memory and device; decides on compilation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from rl_cli import algos
from rl_cli.algos.base import Algorithm
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.core import memory
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec, Waiting
from rl_cli.engine import forward, private_folder
from rl_cli.engine.compiler import StepCompiler
from rl_cli.engine.functions import Function, Runs
from rl_cli.engine.learner import Learner

COMPILE_FROM = 7_500
"""Planned updates from which compile=auto compiles: a build of 10 to 20 s pays off in two runs."""


def make_algorithm(
    algo_cls: type[Algorithm[Any]],
    cfg: AlgoConfig,
    spec: EnvSpec,
    total_timesteps: int,
    seed: int,
    device: str,
) -> Algorithm[Any]:
    """Build an algorithm for envs of this `spec`.

    Raises:
        BadInput: the algorithm does not support their actions (lists those that do); the networks do
            not fit into memory; the device is not available.

    """
    if spec.action.kind not in algo_cls.supports:
        suitable = [n for n in algos.usable() if spec.action.kind in algos.load(n).supports]
        raise BadInput(
            f"{cfg.title} supports {' or '.join(algo_cls.supports)} actions; this env has {spec.action.kind} actions",
            f"algo={cfg.title}",
            f"use one of {', '.join(f'algo={name}' for name in suitable)}",
        )
    require_memory(cfg, algo_cls.size(cfg, spec))
    chosen = pick_device(device, spec)
    try:
        return algo_cls(cfg, spec, total_timesteps, seed, chosen)
    except (
        MemoryError,
        ValueError,
        RuntimeError,
    ) as error:  # failed allocations of NumPy and torch
        raise BadInput(
            f"{cfg.title} cannot be built: {str(error).splitlines()[0]}",
            f"algo={cfg.title} {cfg.overrides('hidden_sizes')}",
            "use smaller networks, e.g. algo.hidden_sizes=[64,64]",
        ) from None


COPIES = 4
"""Arrays per parameter: the parameter, its gradient and Adam's two moments."""


def require_memory(cfg: AlgoConfig, size: int) -> None:
    """Raise BadInput if networks of `size` float32 parameters do not fit into memory."""
    available, needed = memory.limit(), 4 * COPIES * size
    if needed > available:
        raise BadInput(
            f"networks of {size:,} parameters need {needed / 1e9:,.1f} GB of memory; "
            f"{available / 1e9:,.1f} GB are available",
            f"algo={cfg.title} {cfg.overrides('hidden_sizes')}",
            "use smaller networks, e.g. algo.hidden_sizes=[64,64]",
        )


def pick_device(device: str, spec: EnvSpec) -> torch.device:
    """The device to train on; auto: CUDA for image observations if available, else the CPU.

    Raises:
        BadInput: torch finds no such device.

    """
    if device == "cpu" or (device == "auto" and not spec.has_images):
        return torch.device(
            "cpu"
        )  # without a query: it would start CUDA, which does not survive a fork
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise BadInput("torch finds no Metal device", "device=mps", "use device=cpu")
        return torch.device(device)
    available = torch.cuda.is_available()
    if device == "auto":
        return _cuda("cuda") if available else torch.device("cpu")
    if not available:
        raise BadInput("torch finds no CUDA device", f"device={device}", "use device=cpu")
    numbered, count = device.partition(":")[2], torch.cuda.device_count()
    if numbered and int(numbered) >= count:
        found = ", ".join(f"cuda:{i}" for i in range(count))
        raise BadInput("torch finds no such CUDA device", f"device={device}", f"one of: {found}")
    return _cuda(device)


def _cuda(device: str) -> torch.device:
    """A CUDA device, on which the gradient of a convolution has the same bits in each run."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return torch.device(device)


def worth_compiling(requested: bool | Literal["auto"], algo: Algorithm[Any]) -> bool:
    """Whether to compile the update step, given the key `compile`.

    Depends on the configuration alone, not on measured times, so that a run is reproducible.
    """
    on_cpu = algo.learner.flat.device.type == "cpu"
    if requested == "auto":
        return on_cpu and not algo.spec.has_images and algo.planned_updates() >= COMPILE_FROM
    one_shape = algo.planned_updates() > 0  # a library is built for batches of one shape
    return requested and on_cpu and one_shape  # the compiler emits code for the CPU


PLAIN = {0.0, 0.5, 1.0, 2.0}
"""Constants that also occur in formulas; they stay constants of the compiled step."""


def settings_of(cfg: AlgoConfig) -> set[float]:
    """Floats of a configuration, which become arguments of the compiled step: a sweep over them reuses it."""
    return {value for value in vars(cfg).values() if isinstance(value, float)} - PLAIN


def use_machine_code(
    learner: Learner,
    cfg: AlgoConfig,
    arithmetic: str,
    notify: Callable[[str], None],
    interrupted: Callable[[], bool],
    waiting: Waiting,
) -> None:
    """Compile the update step and the forward pass: both or neither, so that a resumed run can match.

    Args:
        learner: of the algorithm.
        cfg: of the algorithm.
        arithmetic: identifies everything that the step depends on besides the shapes of its inputs.
        notify: prints a line.
        interrupted: whether a stop signal arrived, which ends the compiler.
        waiting: entered while the compiler works, with what it does.

    """
    try:
        place = private_folder.find()
        if place.refused:
            notify(f"compiled code is kept in {place.folder}: {place.refused}")
        native = forward.load()
    except (OSError, RuntimeError) as problem:
        notify(f"the update step runs uncompiled, slower: {problem}")
    else:
        compiler = StepCompiler(arithmetic, notify, settings_of(cfg), interrupted)

        def compile_shown(
            function: Function, arguments: list[torch.Tensor], changing: Sequence[int]
        ) -> Runs | None:
            with waiting("compiling the update step"):
                return compiler(function, arguments, changing)

        learner.compile_with(compile_shown, native)
