"""Envs and algorithm for a configuration, made for each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from rl_cli import algos, checkpoint, memory, native, transitions
from rl_cli.algos.base import Algorithm
from rl_cli.compiled import StepCompiler
from rl_cli.config import AlgoConfig, RunConfig
from rl_cli.errors import BadInput
from rl_cli.learner import Learner
from rl_cli.seeding import env_seeds
from rl_cli.types import EnvSpec, Transition
from rl_cli.vector import VectorEnv
from rl_cli.workers import WorkerVectorEnv

COMPILE_FROM = 7_500
"""Updates from which on compiling, ten to twenty seconds the first time, is won back by the second run."""


def make_envs(cfg: RunConfig) -> VectorEnv:
    """The training envs, in this process or in others."""
    seeds = env_seeds(cfg.seed, cfg.env.num_envs)
    if cfg.workers:
        return WorkerVectorEnv(cfg.env, seeds, cfg.workers, cfg.step_timeout)
    return VectorEnv(cfg.env, seeds)


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


HARMLESS = 1 << 24
"""Bytes of weights that may be asked for anyhow; what reads the file has more to say of it."""
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


def refuse_other_sizes(
    algo_cls: type[Algorithm[Any]], cfg: AlgoConfig, spec: EnvSpec, checkpoints: list[Path]
) -> None:
    """A few bytes of text must not ask for gigabytes of network, of which no checkpoint has any.

    Raises:
        BadInput: the networks have more numbers than there are in each of the checkpoints.

    """
    if spec.action.kind not in algo_cls.supports:
        return  # of which `make_algorithm` tells
    files = [folder / checkpoint.POLICY for folder in checkpoints]
    largest = max((path.lstat().st_size for path in files if path.is_file()), default=0)
    there = min(largest, checkpoint.MAX_POLICY_BYTES)
    size = algo_cls.size(cfg, spec)
    if 4 * size > max(there, HARMLESS):
        raise BadInput(
            f"the weights are not of these networks: {size:,} numbers, and {there:,} bytes are there",
            str(files[-1]),
            "get the checkpoint anew",
        )


def read_prefill(
    cfg: RunConfig, algo_cfg: AlgoConfig, spec: EnvSpec, begun: Path | None
) -> Transition | None:
    """The transitions that the run is to begin with; None: it begins with nothing.

    A run that has `begun` has them in its checkpoints, if it has any.

    Raises:
        BadInput: the file is not there or not of this env, or the run sees what is in it normalised.

    """
    path = getattr(algo_cfg, "prefill", None)
    if path is None or (begun is not None and checkpoint.steps_in(begun / "checkpoints")):
        return None
    for key in ("normalize_obs", "normalize_reward"):
        if getattr(cfg.env, key):
            raise BadInput(
                "what was recorded is not normalised, and this run would learn from what is",
                f"algo.prefill={path} env.{key}=true",
                f"leave env.{key} out",
            )
    rows = transitions.read(Path(path), spec, "algo.prefill")
    return rows._replace(reward=np.sign(rows.reward)) if cfg.env.sign_reward else rows


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
    learner: Learner, cfg: AlgoConfig, arithmetic: str, notify: Callable[[str], None]
) -> None:
    """Learn and act in machine code: both or neither, so that going on can be the same.

    `arithmetic`: all that the learning step depends on beside the shapes of its inputs.
    """
    try:
        learner.native = native.load()
    except (OSError, RuntimeError) as problem:
        notify(f"the learning step runs uncompiled, slower: {problem}")
    else:
        learner.compiler = StepCompiler(arithmetic, notify, settings_of(cfg))
