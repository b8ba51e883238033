"""What decides the bits of a run besides its configuration and its state; recorded in each checkpoint.

The manifest holds it under `versions`, as names and values.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from rl_cli.algos.base import Algorithm
from rl_cli.config.env import EnvConfig
from rl_cli.core import processors
from rl_cli.core.errors import plain
from rl_cli.engine.compiler import content_digest, files_digest
from rl_cli.envs.make import defining_module
from rl_cli.storage.checkpoint_writer import package_version

PACKAGES = {"mujoco": "mujoco", "ale_py": "ale-py", "Box2D": "box2d"}
"""Module of an env -> the package that it comes from, if it is not gymnasium."""

OWN = ("rl_cli", "gymnasium")
"""Packages whose versions are recorded anyway."""

INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed packages: there a version identifies the source."""

MAX_FILES = 2_000
"""Source files of a package that are hashed."""

STEERING = (
    "ATEN_CPU_",
    "MKL_",
    "OPENBLAS_",
    "NPY_",
    "ONEDNN_",
    "DNNL_",
    "GLIBC_TUNABLES",
    "CUBLAS_",
)
"""Environment variables that choose among implementations of the same arithmetic. How many threads
numpy uses does not change its results."""

VECTORS = ("avx", "sse", "ssse", "fma", "f16c", "amx", "asimd", "sve", "fp")
"""Starts of the names of instruction sets that arithmetic uses."""

SURE = frozenset({"torch kernels", "device"})
"""Conditions that change results practically always; the others may."""

HASHES = {
    "source": "the source of rl-cli or of the algorithm",
    "env source": "the source of rl-cli or of the env",
}
"""Conditions whose values mean nothing to a reader. Both hold the source of rl-cli: see `different`."""


def conditions(algo: Algorithm[Any], env: EnvConfig) -> dict[str, str]:
    """Names and values of what may decide the bits of this run, in this process."""
    module = defining_module(env)
    of_env, of_algo = [] if module is None else [module], _modules_of(algo)
    forward_compiler, step_compiler = algo.learner.compilers
    found = {
        **packages(algo, env),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "platform": f"{platform.system()} {platform.machine()}",
        "libc": _libc(),
        **_processor(),
        "torch kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "device": _device(algo.learner.flat.device),
        "environment": _environment() or "nothing",
        "compiler": forward_compiler,
        "step compiler": step_compiler,
        "source": files_digest(_files(of_algo)),
        "env source": files_digest(_files(of_env)) if of_env else "",
    }
    return {name: value for name, value in found.items() if value}


def packages(algo: Algorithm[Any], env: EnvConfig) -> dict[str, str]:
    """Versions of the installed packages, other than `OWN`, of the env and the algorithm."""
    found = {name: package_version(name) for top, name in PACKAGES.items() if top in sys.modules}
    of_env = defining_module(env)
    for module in [*([of_env] if of_env else []), *_modules_of(algo)]:
        top = module.__name__.partition(".")[0]
        if top not in OWN and _is_installed(module):
            for name in _distributions(top):
                found[name] = package_version(name)
    return found


def own_sources(algo: Algorithm[Any], env: EnvConfig) -> dict[str, str]:
    """Digests of the source of an algorithm and an env that are the user's own, by what they are."""
    of_env = defining_module(env)
    modules = {"algorithm": _modules_of(algo), "env": [] if of_env is None else [of_env]}
    own = {what: _files(filter(_is_own, found)) for what, found in modules.items()}
    return {what: content_digest(files) for what, files in own.items() if files}


def _is_own(module: ModuleType) -> bool:
    top = module.__name__.partition(".")[0]
    return top not in OWN and top not in sys.stdlib_module_names and not _is_installed(module)


def _is_installed(module: ModuleType) -> bool:
    return any(part in INSTALLED for part in Path(getattr(module, "__file__", None) or "").parts)


@functools.cache
def _distributions(top: str) -> tuple[str, ...]:
    """Installed distributions that contain a top-level module."""
    try:  # most are called like their module; the search through all packages takes half a second
        return (str(metadata.distribution(top.replace("_", "-")).metadata["Name"]),)
    except metadata.PackageNotFoundError:
        return tuple(sorted(set(metadata.packages_distributions().get(top, ()))))


def _files(modules: Iterable[ModuleType]) -> list[Path]:
    """Source files of the modules; of a package that is not installed, all of them."""
    found: dict[Path, None] = {}
    for module in modules:
        name = module.__name__.partition(".")[0]
        top, file = sys.modules.get(name), getattr(module, "__file__", None)
        package = Path(getattr(top, "__file__", None) or "")
        is_own = name in OWN or name in sys.stdlib_module_names
        if top and package.name == "__init__.py" and not is_own and not _is_installed(top):
            found |= dict.fromkeys(_package_files(package.parent))
        elif file:
            found[Path(file)] = None
    return list(found)


@functools.cache
def _package_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.rglob("*.py"))[:MAX_FILES])


def different(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Conditions that differ, in words by their names.

    A condition that only one side has is not known to differ: earlier versions recorded fewer.
    """
    names = [name for name in now if name in before and before[name] != now[name]]
    words = {name: _in_words(name, before[name], now[name]) for name in names}
    if all(name in before and name in now for name in HASHES):
        if words.keys() >= HASHES.keys():
            del words["env source"]
            words["source"] = (
                "the source of rl-cli, or of the algorithm and the env, has changed (may change bits)"
            )
        else:  # a change of rl-cli would have changed both
            words |= {k: v.replace("of rl-cli or ", "") for k, v in words.items() if k in HASHES}
    return words


def _in_words(name: str, before: str, now: str) -> str:
    if name in HASHES:
        words = f"{HASHES[name]} has changed"
    elif name == "instructions":
        old, new = set(before.split()), set(now.split())
        changes = [*(f"-{x}" for x in sorted(old - new)), *(f"+{x}" for x in sorted(new - old))]
        words = f"instructions of the processor: {' '.join(changes)}"
    else:
        words = f"{name} {before} before, {now} now"
    return plain(words if name in SURE else f"{words} (may change bits)")


def _environment() -> str:
    """The variables in `STEERING` that are set."""
    return " ".join(
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(STEERING) and not name.endswith("_NUM_THREADS")
    )


@functools.cache
def _processor() -> dict[str, str]:
    """Model and vector instructions. Linux; elsewhere what the platform module knows."""
    if not processors.cpuinfo():
        return {"processor": platform.processor()}
    lines = (line.partition(":") for line in processors.cpuinfo())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    vectors = sorted(flag for flag in flags if flag.startswith(VECTORS))
    return {"processor": fields.get("model name", ""), "instructions": " ".join(vectors)}


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):  # not glibc
        return ""


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _modules_of(algo: Algorithm[Any]) -> list[ModuleType]:
    """Modules outside of this package that define the algorithm or its buffer."""
    classes = (*type(algo).__mro__, *type(algo.buffer).__mro__)
    names = dict.fromkeys(cls.__module__ for cls in classes)
    return [sys.modules[n] for n in names if n in sys.modules and not n.startswith("rl_cli.")]
