"""One gymnasium env from its configuration, and what an algorithm needs to know of it."""

from __future__ import annotations

import inspect
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
from gymnasium import spaces
from gymnasium import wrappers as w

from rl_cli.config.env import EnvConfig
from rl_cli.core.errors import BadInput, EnvFault, RunError, did_you_mean
from rl_cli.envs import atari
from rl_cli.envs.wrappers import ActionRepeat, Env, FreshWorld, _flatten, _is_image, _stack_pixels

EXTRAS = {"mujoco": "mujoco", "ale": "atari", "atari": "atari"}
"""Word in gymnasium's message -> our extra that brings the package."""

RESERVED_KWARGS = {
    "max_episode_steps": "use env.max_episode_steps",
    "render_mode": "use video.every, or rl-eval render=human",
}


def make_env(cfg: EnvConfig, render_mode: str | None = None, training: bool = False) -> Env:
    """The env, its observations brought to (C, H, W) bytes or a flat vector.

    Training envs are made without a renderer: with one, LunarLander fills its physics with
    particles and each step takes many times as long.

    Raises:
        BadInput: no such env, a missing package, an unknown env.kwargs key, observations that
            cannot be flattened.

    """
    env, cfg = atari.prepared(_make(cfg, render_mode), cfg, training)
    if cfg.id.startswith("BipedalWalker"):
        env = FreshWorld(env)
    if cfg.frame_skip > 1:
        env = ActionRepeat(env, cfg.frame_skip)
    if _is_image(env.observation_space):
        return _stack_pixels(env, cfg)
    if cfg.grayscale or cfg.resize is not None:
        key = "env.grayscale" if cfg.grayscale else "env.resize"
        raise BadInput("only pixel observations have a size and a colour", key, f"leave {key} out")
    if not isinstance(env.observation_space, spaces.Box) or env.observation_space.shape == ():
        env = _flatten(env, cfg)
    if cfg.frame_stack > 1:
        env = w.FrameStackObservation(env, cfg.frame_stack)
    return env if len(env.observation_space.shape or ()) == 1 else _flatten(env, cfg)


def _make(cfg: EnvConfig, render_mode: str | None) -> Env:
    if ":" in cfg.id and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the module may lie here; nothing else is looked for here
    _register_extras(cfg.id)
    for name, instead in RESERVED_KWARGS.items():
        if name in cfg.kwargs:
            raise BadInput(f"{name} is not the env's to be given", f"env.kwargs.{name}", instead)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return gym.make(
                cfg.id,
                max_episode_steps=cfg.max_episode_steps,
                disable_env_checker=True,
                # an env that cannot render need not know the word
                **({} if render_mode is None else {"render_mode": render_mode}),
                **cast(dict[str, Any], cfg.kwargs),
            )
    except Exception as error:  # a module or a constructor of somebody else's: anything
        raise _refused(error, cfg) from None


def _refused(error: Exception, cfg: EnvConfig) -> BadInput:
    """Why there is no such env, and what to do about it."""
    what, where = _first_line(error), f"env.id={cfg.id}"
    match error:
        case gym.error.DependencyNotInstalled():
            told = what.partition(", run")[0]  # gymnasium names its own extra, not ours
            return BadInput(f"{cfg.id} needs a package: {told}", where, _pip_line(str(error)))
        case gym.error.NamespaceNotFound() if cfg.id.startswith("ALE/"):
            return BadInput(what, where, _pip_line("atari"))
        case gym.error.UnregisteredEnv() | gym.error.DeprecatedEnv():
            atari = "NoFrameskip" in cfg.id
            return BadInput(what, where, _pip_line("atari") if atari else _suggest_env(cfg.id))
        case gym.error.Error():  # an id that is none
            return BadInput(what.partition(" (")[0], where, _suggest_env(cfg.id))
        case ImportError():
            fix = "install the package, or start where its module lies"
            return BadInput(f"{cfg.id} could not be imported: {what}", where, fix)
    if unknown := _unknown_kwarg(error, cfg):
        return unknown
    return BadInput(
        f"{cfg.id} cannot be made: {type(error).__name__}: {what}",
        f"env.kwargs={dict(cfg.kwargs)}" if cfg.kwargs else where,
        "see the env's own documentation for its arguments",
    )


def _unknown_kwarg(error: Exception, cfg: EnvConfig) -> BadInput | None:
    """The argument that an env does not take, and those it does; None if that was not it."""
    if not isinstance(error, TypeError):
        return None
    entry = gym.spec(cfg.id.rpartition(":")[2]).entry_point  # made, or tried to: its module is in
    if entry is None:
        return None
    make = gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    takes = inspect.signature(make).parameters
    if any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        return None
    unknown = [name for name in cfg.kwargs if name not in takes]
    if not unknown:
        return None
    known = [name for name in takes if name not in RESERVED_KWARGS]
    fix = f"its arguments: {', '.join(known)}" if known else "it takes none"
    return BadInput(
        f"{cfg.id} takes no argument {unknown[0]}",
        f"env.kwargs.{unknown[0]}={cfg.kwargs[unknown[0]]}",
        did_you_mean(unknown[0], known, fix),
    )


def _register_extras(env_id: str) -> None:
    if env_id.startswith("ALE/") or "NoFrameskip" in env_id:
        try:
            import ale_py  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            return
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner
        gym.register_envs(ale_py)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _pip_line(message: str) -> str:
    for word, extra in EXTRAS.items():
        if word in message.lower():
            return f'from a clone: pip install -c constraints.txt ".[{extra}]"'
    return "install what it names"


def _suggest_env(env_id: str) -> str:
    known = [spec for spec in gym.registry if not spec.startswith(("phys2d/", "tabular/"))]
    match = did_you_mean(env_id, known)
    return match or "any id that gymnasium.envs.registry lists, or module:Id-v0"


def env_fault(error: Exception, where: str) -> RunError:
    """What to tell of an exception that an env raised; `where` the run stood."""
    if isinstance(error, RunError):
        return error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return EnvFault(
        f"the env raised {type(error).__name__}: {_first_line(error)}",
        f"{where}; {Path(frame.filename).name}:{frame.lineno} in {frame.name}",
        "mend the env; RL_CLI_DEBUG=1 shows the whole traceback",
    )
