"""One gymnasium env from its configuration, and what an algorithm needs to know of it."""

from __future__ import annotations

import inspect
import math
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium import wrappers as w

from rl_cli import atari
from rl_cli.config import EnvConfig
from rl_cli.errors import BadInput, EnvFault, RunError, did_you_mean
from rl_cli.types import ActionSpec, EnvSpec

Env = gym.Env[Any, Any]
EXTRAS = {"mujoco": "mujoco", "ale": "atari", "atari": "atari"}
"""Word in gymnasium's message -> our extra that brings the package."""


RESERVED_KWARGS = {
    "max_episode_steps": "use env.max_episode_steps",
    "render_mode": "use video.every, or rl-eval render=human",
}


class ActionRepeat(gym.Wrapper[Any, Any, Any, Any]):
    """The same action `times` frames long; rewards are summed, an episode's end is not passed."""

    def __init__(self, env: Env, times: int) -> None:
        super().__init__(env)
        self.times = times

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total = 0.0
        for _ in range(self.times):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, info


class FreshWorld(gym.Wrapper[Any, Any, Any, Any]):
    """A new physics world at each reset.

    BipedalWalker keeps one for life, which remembers the contacts of earlier episodes: the same
    seed and actions would give another episode in a used env than in a new one.
    """

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        import Box2D

        env = cast(Any, self.env.unwrapped)
        env._destroy()
        env.world = Box2D.b2World()
        return self.env.reset(**kwargs)


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


def _is_image(space: gym.Space[Any]) -> bool:
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) in (2, 3)
        and space.dtype == np.uint8
        and min(space.shape[:2]) >= 36
    )


def _stack_pixels(env: Env, cfg: EnvConfig) -> Env:
    """(H, W, 3) bytes -> (C, H, W) bytes, C = colours x stacked frames."""
    if cfg.normalize_obs:
        raise BadInput(
            "pixels are scaled to [0, 1] by the network",
            "env.normalize_obs=true",
            "leave env.normalize_obs out",
        )
    if cfg.grayscale and (env.observation_space.shape or ())[2:] == (3,):
        env = w.GrayscaleObservation(env)
    if cfg.resize is not None:
        env = w.ResizeObservation(env, (cfg.resize, cfg.resize))
    if cfg.frame_stack > 1:
        env = w.FrameStackObservation(env, cfg.frame_stack)
    shape = env.observation_space.shape or ()
    stacked = shape if cfg.frame_stack > 1 else (1, *shape)  # (K, H, W) or (K, H, W, 3)
    channels = stacked[3] if len(stacked) == 4 else 1
    size = (stacked[0] * channels, *stacked[1:3])

    def channels_first(obs: Any) -> np.ndarray:
        frames = np.asarray(obs).reshape(stacked)
        if channels > 1:
            frames = frames.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(frames.reshape(size))

    return w.TransformObservation(env, channels_first, spaces.Box(0, 255, size, np.uint8))


def _flatten(env: Env, cfg: EnvConfig) -> Env:
    if not env.observation_space.is_np_flattenable:
        raise BadInput(
            f"observations of {cfg.id} have no fixed size: {env.observation_space}",
            f"env.id={cfg.id}",
            "Box, Discrete, MultiBinary, MultiDiscrete, and Dict or Tuple of these can be used",
        )
    return w.FlattenObservation(env)


def spec_of(env: Env, cfg: EnvConfig) -> EnvSpec:
    """Shapes of observations and actions.

    Raises:
        BadInput: a kind of action that no algorithm here takes.

    """
    obs_shape = env.observation_space.shape
    assert obs_shape is not None
    pixels = len(obs_shape) == 3
    return EnvSpec(
        obs_shape, "uint8" if pixels else "float32", _action_spec(env, cfg), cfg.num_envs
    )


def _action_spec(env: Env, cfg: EnvConfig) -> ActionSpec:
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return ActionSpec("discrete", (), (int(space.n),))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return ActionSpec("multidiscrete", space.shape, tuple(int(n) for n in space.nvec))
    if isinstance(space, spaces.Box):
        low, high = (tuple(float(x) for x in bound.flat) for bound in (space.low, space.high))
        return ActionSpec("box", space.shape, (), low, high)
    raise BadInput(
        f"actions of {cfg.id} are {space}",
        f"env.id={cfg.id}",
        "Discrete, MultiDiscrete and Box actions can be used",
    )


def action_decoder(space: gym.Space[Any]) -> Callable[[np.ndarray], Sequence[Any]]:
    """How rows of an algorithm's actions become what the env takes; Box rows are clipped."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return lambda rows: rows.tolist() if start == 0 else (rows + start).tolist()
    if isinstance(space, spaces.Box):
        low, high, dtype = space.low, space.high, space.dtype
        return lambda rows: list(np.minimum(np.maximum(rows, low), high).astype(dtype, copy=False))
    first = cast(spaces.MultiDiscrete, space).start
    return lambda rows: list(rows + first)


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


def without_time_limit(envs: list[Env]) -> tuple[list[Env], float]:
    """Envs of one kind without gymnasium's outermost bookkeeping, and their limit of steps.

    The two wrappers that `gymnasium.make` puts around every env cost as much as CartPole itself;
    who steps such an env counts its steps, and resets it before the first one.
    """
    first = envs[0]
    if type(first) is not w.TimeLimit:
        return envs, math.inf
    inner = [cast(w.TimeLimit[Any, Any], env).env for env in envs]
    if type(inner[0]) is w.OrderEnforcing:
        inner = [cast(w.OrderEnforcing[Any, Any], env).env for env in inner]
    return inner, first._max_episode_steps


def fps_of(env: Env, cfg: EnvConfig) -> float:
    """Frames per second, one frame an action, at which the env looks as it should."""
    return float(env.metadata.get("render_fps") or 30) / cfg.frame_skip


def success_threshold(env: Env, cfg: EnvConfig) -> float | None:
    """Return at which an episode counts as a success: env.success_at, or what the env registers."""
    if cfg.success_at is not None:
        return cfg.success_at
    threshold = env.spec.reward_threshold if env.spec is not None else None
    return None if threshold is None or math.isinf(threshold) else float(threshold)
