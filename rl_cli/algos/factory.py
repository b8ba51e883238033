"""TODO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from rl_cli import algos
from rl_cli.algos.base import Algorithm
from rl_cli.config.algorithm import AlgoConfig
from rl_cli.core import memory
from rl_cli.core.errors import BadInput
from rl_cli.core.types import EnvSpec
from rl_cli.engine import forward
from rl_cli.engine.compiler import StepCompiler
from rl_cli.engine.learner import Learner

COMPILE_FROM = 7_500
"""Updates from which on compiling, ten to twenty seconds the first time, is won back by the second run."""


def make_algorithm(
    algo_cls: type[Algorithm[Any]],
    cfg: AlgoConfig,
    spec: EnvSpec,
    total_timesteps: int,
    seed: int,
    device: str,
) -> Algorithm[Any]:
    """The algorithm for these envs.

    Raises:
        BadInput: it cannot take their actions; names those that can. No such device.

    """
    if spec.action.kind not in algo_cls.supports:
        fitting = [n for n in algos.names() if spec.action.kind in algos.load(n).supports]
        raise BadInput(
            f"{cfg.title} takes {' or '.join(algo_cls.supports)} actions, this env has {spec.action.kind} ones",
            f"algo={cfg.title}",
            f"these fit: {', '.join(f'algo={name}' for name in fitting)}",
        )
    require_room(cfg, algo_cls.size(cfg, spec))
    where = pick_device(device, spec)
    try:
        return algo_cls(cfg, spec, total_timesteps, seed, where)
    except (MemoryError, ValueError, RuntimeError) as error:  # numpy's and torch's ways to say it
        raise BadInput(
            f"{cfg.title} cannot be built: {str(error).splitlines()[0]}",
            f"algo={cfg.title} {cfg.told('hidden_sizes')}",
            "smaller networks may fit: algo.hidden_sizes=[64,64]",
        ) from None


COPIES = 4
"""Of every parameter: itself, its gradient and Adam's two moments."""


def require_room(cfg: AlgoConfig, size: int) -> None:
    """Refuse networks of more numbers than memory holds. Raises BadInput."""
    room = memory.limit()
    if 4 * COPIES * size > room:
        raise BadInput(
            f"networks of {size:,} numbers would take {4 * COPIES * size / 1e9:,.1f} GB of memory, "
            f"and there are {room / 1e9:,.1f} GB",
            f"algo={cfg.title} {cfg.told('hidden_sizes')}",
            "smaller ones: algo.hidden_sizes=[64,64]",
        )


def pick_device(device: str, spec: EnvSpec) -> torch.device:
    """auto: cuda for pixels where there is one. Raises BadInput for a cuda that is not there."""
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise BadInput("torch finds no CUDA device", "device=cuda", "use device=cpu")
    pixels = len(spec.obs_shape) == 3
    return torch.device(
        "cuda" if device == "cuda" or (device == "auto" and pixels and available) else "cpu"
    )


def worth_compiling(wish: bool | Literal["auto"], algo: Algorithm[Any]) -> bool:
    """Known from the configuration alone, so that a run is the same run whatever the clock says."""
    on_cpu = algo.learner.flat.device.type == "cpu"
    if wish == "auto":
        vectors = len(algo.spec.obs_shape) == 1
        return on_cpu and vectors and algo.planned_updates() >= COMPILE_FROM
    fixed = algo.planned_updates() > 0  # of one shape, or which are compiled is a matter of chance
    return wish and on_cpu and fixed  # what is compiled here is code for the CPU


PLAIN = {0.0, 0.5, 1.0, 2.0}
"""Values that formulas have of their own."""


def settings_of(cfg: AlgoConfig) -> set[float]:
    """Numbers of a configuration that a sweep may be over."""
    return {value for value in vars(cfg).values() if isinstance(value, float)} - PLAIN


def use_machine_code(
    learner: Learner,
    cfg: AlgoConfig,
    arithmetic: str,
    notify: Callable[[str], None],
    interrupted: Callable[[], bool],
) -> None:
    """Learn and act in machine code: both or neither, so that going on can be the same.

    `arithmetic`: all that the learning step depends on beside the shapes of its inputs. `interrupted`:
    whether the run is asked to stop, which ends the compiler.
    """
    try:
        native = forward.load()
    except (OSError, RuntimeError) as problem:
        notify(f"the learning step runs uncompiled, slower: {problem}")
    else:
        compiler = StepCompiler(arithmetic, notify, settings_of(cfg), interrupted)
        learner.compile_with(compiler, native)
