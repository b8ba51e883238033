"""Wrappers that a configuration names: `env.wrappers=[module:Class]`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from rl_cli.config.env import EnvConfig, parts_of_wrapper
from rl_cli.core.errors import BadInput, RunError, did_you_mean, first_line
from rl_cli.core.start_folder import start_folder
from rl_cli.envs.faults import is_signal

Env = gym.Env[Any, Any]

OURS = {
    "NormalizeObservation": "env.normalize_obs=true",
    "NormalizeReward": "env.normalize_reward=true",
    "RecordVideo": "video.every=<steps>",
    "Autoreset": "leave it out: an env is reset in the step that ends its episode",
}
"""Wrappers of gymnasium that conflict with what a run does itself -> what to write instead."""


def apply_wrappers(env: Env, cfg: EnvConfig) -> Env:
    """An env in the wrappers of `env.wrappers`, the first one innermost.

    Raises:
        BadInput: a wrapper cannot be imported or made, or returns no env.

    """
    for entry in cfg.wrappers:
        name, kwargs = parts_of_wrapper(entry)
        wrapped = _made(_load(name), env, name, kwargs)
        if not isinstance(wrapped, gym.Env):
            what = f"{name} returned {type(wrapped).__name__}, not an env of gymnasium"
            raise BadInput(what, f"env.wrappers={name}", "name a subclass of gymnasium.Wrapper")
        env = wrapped
    return env


def import_from_here() -> None:
    """Make modules in the folder in which the command was started importable."""
    here = str(start_folder())
    if here not in sys.path:
        sys.path.append(here)


def _load(name: str) -> Callable[..., Any]:
    module_name, _, class_name = name.partition(":")
    where = f"env.wrappers={name}"
    if module_name.startswith("gymnasium.wrappers") and class_name in OURS:
        raise BadInput(f"{class_name} conflicts with the run's own", where, OURS[class_name])
    import_from_here()
    try:
        found: Any = importlib.import_module(module_name)
    except BaseException as error:  # the module may raise anything
        if is_signal(error):
            raise
        what = f"the wrapper {name} cannot be imported: {type(error).__name__}: {first_line(error)}"
        fix = "install the package, or run from the folder that contains the module"
        raise BadInput(what, where, fix) from None
    for part in class_name.split("."):
        if not hasattr(found, part):
            fix = did_you_mean(part, dir(found), "name a class of the module: module:Class")
            raise BadInput(f"{module_name} has no {class_name}", where, fix)
        found = getattr(found, part)
    if not callable(found):
        raise BadInput(f"{name} is no class", where, "name a subclass of gymnasium.Wrapper")
    return found  # type: ignore[no-any-return]


def _made(make: Callable[..., Any], env: Env, name: str, kwargs: Mapping[str, Any]) -> Any:
    where = f"env.wrappers={name}"
    try:
        signature = inspect.signature(make)
        signature.bind(env, **kwargs)
    except TypeError as error:
        known = list(signature.parameters)[1:]
        takes = f"its arguments: {', '.join(known)}" if known else "it takes no arguments"
        raise BadInput(f"{name}: {error}", where, takes) from None
    except ValueError:  # no signature is known
        pass
    try:
        return make(env, **kwargs)
    except BaseException as error:
        if isinstance(error, RunError) or is_signal(error):
            raise
        what = f"{name} cannot be made: {type(error).__name__}: {first_line(error)}"
        fix = "see the documentation of the wrapper"
        if "render_mode" in what and env.render_mode is None:
            fix = "give the env a renderer: env.kwargs.render_mode=rgb_array"
        raise BadInput(what, where, fix) from None
