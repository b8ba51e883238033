"""Construction of one env from its configuration, and error messages for envs that fail."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

import gymnasium as gym
from gymnasium import spaces

from rl_cli.config.env import EnvConfig
from rl_cli.core.command_line import override
from rl_cli.core.errors import BadInput, RunError, did_you_mean, first_line
from rl_cli.core.processes import end_stray_child, forks
from rl_cli.envs import atari, minatar
from rl_cli.envs.checked import Checked, require_spaces
from rl_cli.envs.faults import is_signal
from rl_cli.envs.observations import encoded
from rl_cli.envs.packages import described, too_new_mujoco
from rl_cli.envs.registered_ids import module_of, register_by_entry_point
from rl_cli.envs.user_wrappers import apply_wrappers, import_from_here
from rl_cli.envs.wrappers import Env, FreshWorld, repeat_actions, scale_actions

EXTRAS = {"mujoco": "mujoco", "ale": "atari", "minatar": "minatar", "atari": "atari"}
"""Word in gymnasium's error message -> extra of this project that installs the package."""

FAST_CLASSES = {
    "gymnasium.envs.box2d.car_racing:CarRacing": "rl_cli.envs.fast_car_racing:CarRacing"
}
"""Entry point of an env -> that of a class with the same results."""

RESERVED_KWARGS = {
    "max_episode_steps": "use env.max_episode_steps",
    "render_mode": "use video.every, or rl-eval render=human; rgb_array is accepted, for wrappers that read frames",
}


def defining_module(cfg: EnvConfig) -> ModuleType | None:
    """The module with the env's class; None if it is not known or not imported in this process."""
    spec = gym.registry.get(cfg.id.rpartition(":")[2])
    entry = None if spec is None else spec.entry_point
    name = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    return sys.modules.get(name)


def make_env(cfg: EnvConfig, render_mode: str | None = None, training: bool = False) -> Env:
    """Make an env whose observations are arrays that a network reads; see `envs.observations`.

    Args:
        cfg: configuration of the env.
        render_mode: as in `gymnasium.make`. Training envs have none: a renderer makes a step of
            LunarLander many times slower.
        training: apply `episodic_life`.

    Raises:
        BadInput: unknown env, missing package, unknown env.kwargs key, observations that no
            network reads, preprocessing that does not apply to the env; the env raised an exception.

    """
    with as_bad_input(cfg):
        return interface(*_with_dynamics(cfg, render_mode, training))


def make_own_env(cfg: EnvConfig, render_mode: str | None = None) -> tuple[Env, EnvConfig]:
    """Make an env with its own observations and actions, and what is left of `cfg` for `interface`.

    Raises as `make_env`.
    """
    with as_bad_input(cfg):
        return _with_dynamics(cfg, render_mode, training=False)


@contextlib.contextmanager
def as_bad_input(cfg: EnvConfig) -> Iterator[None]:
    """Turn what the code of an env raises into BadInput."""
    depth = forks.depth
    try:
        yield
    except BaseException as error:  # third-party code may raise anything, also SystemExit
        if isinstance(error, RunError) or is_signal(error):
            raise
        raise _bad_input(error, cfg) from None
    finally:
        end_stray_child(depth)


def _with_dynamics(
    cfg: EnvConfig, render_mode: str | None, training: bool
) -> tuple[Env, EnvConfig]:
    """An env with the wrappers that change what a step is, and `cfg` without what is done."""
    env, cfg = atari.preprocess(_make(cfg, render_mode), cfg, training)
    if cfg.id.startswith("BipedalWalker"):
        env = FreshWorld(env)
    return repeat_actions(env, cfg), cfg


def interface(env: Env, cfg: EnvConfig) -> Env:
    """Add the wrappers that convert actions and observations; see `make_env`."""
    if cfg.scale_actions:
        env = scale_actions(env)
    return encoded(env, cfg)


def _make(cfg: EnvConfig, render_mode: str | None) -> Env:
    if ":" in cfg.id:
        import_from_here()
    _register_extras(cfg.id)
    arguments = _arguments(cfg, render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        register_by_entry_point(cfg.id)
        env = _registered(cfg, arguments)
        _give_own_spaces(env.unwrapped)
    env = apply_wrappers(require_spaces(env, cfg.id), cfg)
    return Checked(require_spaces(env, cfg.id))


def _registered(cfg: EnvConfig, arguments: dict[str, Any]) -> Env:
    """`gymnasium.make`, with the class of `FAST_CLASSES` if there is one."""
    fast = _fast_class(cfg)
    spec = cfg.id if fast is None else dataclasses.replace(gym.spec(cfg.id), entry_point=fast)
    limit = cfg.max_episode_steps
    env: Env = gym.make(spec, max_episode_steps=limit, disable_env_checker=True, **arguments)
    if fast is not None and env.unwrapped.spec is not None:  # what others read is gymnasium's
        env.unwrapped.spec.entry_point = gym.spec(cfg.id).entry_point
    return env


def _fast_class(cfg: EnvConfig) -> str | None:
    """Entry point of the class that replaces that of an env; None: there is none.

    A wrapper may change how an env draws, or what it returns, so an env with wrappers keeps its class.
    """
    spec = gym.registry.get(cfg.id)
    if spec is None or cfg.wrappers or spec.additional_wrappers:
        return None
    return FAST_CLASSES.get(spec.entry_point) if isinstance(spec.entry_point, str) else None


def _arguments(cfg: EnvConfig, render_mode: str | None) -> dict[str, Any]:
    """Arguments of the env; without `render_mode`, an env without a renderer may not accept that one."""
    given = cast(dict[str, Any], cfg.kwargs)
    for name, instead in RESERVED_KWARGS.items():
        if name in given and (name, given[name]) != ("render_mode", "rgb_array"):
            raise BadInput(f"env.kwargs cannot set {name}", f"env.kwargs.{name}", instead)
    if "render_mode" in given:
        without_screen()
    return given if render_mode is None else given | {"render_mode": render_mode}


def without_screen() -> None:
    """Let renderers draw without a display and without lines of their own."""
    # gymnasium sets it when it is imported; a call of the API before this one may have restored the variables
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if not os.environ.get("DISPLAY") and sys.platform.startswith("linux"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("MUJOCO_GL", "egl")  # read when a renderer is made


def _give_own_spaces(env: Any) -> None:
    """Copy spaces that belong to the class of an env.

    All its envs, those of the evaluation too, would otherwise sample from the same generator.
    """
    for name in ("action_space", "observation_space"):
        if name not in vars(env) and isinstance(getattr(type(env), name, None), spaces.Space):
            with contextlib.suppress(AttributeError):  # the class allows no such attribute
                setattr(env, name, copy.deepcopy(getattr(env, name)))


def _bad_input(error: BaseException, cfg: EnvConfig) -> BadInput:
    """Why the env cannot be made, and what to do."""
    what, where = first_line(error), f"env.id={cfg.id}"
    match error:
        case gym.error.DependencyNotInstalled():
            reason = what.partition(", run")[0]  # the rest names gymnasium's extra, not ours
            return BadInput(
                f"{cfg.id} needs a package: {reason}", where, _pip_line(first_line(error))
            )
        case gym.error.NamespaceNotFound() if extra := _extra_of(cfg.id):
            return BadInput(what, where, _pip_line(extra))
        case gym.error.UnregisteredEnv() | gym.error.DeprecatedEnv():
            what = what.partition(" Did you mean")[
                0
            ]  # `_suggest_env` guesses, if it is close enough
            is_atari = "NoFrameskip" in cfg.id
            fix = _pip_line("atari") if is_atari else _suggest_env(cfg.id)
            return BadInput(what, where, fix)
        case gym.error.Error():  # a malformed id
            return BadInput(what.partition(" (")[0], where, _suggest_env(cfg.id))
        case ImportError():
            fix = "install the package, or run from the folder that contains the module"
            if extra := _extra_of(cfg.id.removeprefix("ale_py:")):
                fix = _pip_line(extra)
            return BadInput(f"{cfg.id} could not be imported: {what}", where, fix)
    if unknown := _unknown_kwarg(error, cfg):
        return unknown
    return BadInput(
        f"{cfg.id} cannot be made: {described(error)}",
        f"env.kwargs={dict(cfg.kwargs)}" if cfg.kwargs else where,
        too_new_mujoco(error) or "see the documentation of the env for its arguments",
    )


def _unknown_kwarg(error: BaseException, cfg: EnvConfig) -> BadInput | None:
    """An argument that the env does not accept, and those it does; None: another error."""
    if not isinstance(error, TypeError):
        return None
    entry = gym.spec(cfg.id.rpartition(":")[2]).entry_point  # gym.make has imported its module
    if entry is None:
        return None
    make = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    accepted = inspect.signature(make).parameters
    if any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        return None
    if "render_mode" in first_line(error) and "render_mode" not in accepted:
        what = f"{cfg.id} has no renderer: it takes no argument render_mode"
        return BadInput(what, f"env.id={cfg.id}", "add the argument render_mode to the env")
    unknown = [name for name in cfg.kwargs if name not in accepted]
    if not unknown:
        return None
    known = [name for name in accepted if name not in RESERVED_KWARGS]
    fix = f"its arguments: {', '.join(known)}" if known else "it takes no arguments"
    return BadInput(
        f"{cfg.id} takes no argument {unknown[0]}",
        f"env.kwargs.{unknown[0]}={cfg.kwargs[unknown[0]]}",
        did_you_mean(unknown[0], known, fix),
    )


def _extra_of(env_id: str) -> str | None:
    """The extra of this project with the package of an env id, by its namespace."""
    return {"ALE": "atari", "MinAtar": "minatar"}.get(env_id.partition("/")[0])


def _register_extras(env_id: str) -> None:
    if env_id.startswith("MinAtar/"):
        minatar.register()
    env_id = env_id.removeprefix("ale_py:")
    if env_id.startswith("ALE/") or "NoFrameskip" in env_id:
        try:
            import ale_py  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no start-up message
        gym.register_envs(ale_py)


def _pip_line(message: str) -> str:
    for word, extra in EXTRAS.items():
        if word in message.lower():
            return f'from a clone: pip install -c constraints.txt ".[{extra}]"'
    return "install the package that is named"


def _suggest_env(env_id: str) -> str:
    if ":" not in env_id and (module := module_of(env_id)) is not None:
        return f"import the module that registers it: {override('env.id', f'{module}:{env_id}')}"
    known = [spec for spec in gym.registry if not spec.startswith(("phys2d/", "tabular/"))]
    match = did_you_mean(env_id, known)
    return match or "use an id in gymnasium.envs.registry, or module:Id-v0"
