"""Envs that misbehave, each in one way, and what a command should answer."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from typing import NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

AT = 60
"""Env step at which an env misbehaves in `step`, and from which it does in `reset` and `render`."""


class Unreadable(Exception):
    """An exception whose text cannot be read."""

    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


def _raise(error):
    raise error


def _change_folder():
    os.chdir("/")


class NamedStep(NamedTuple):
    """What a step returns, with names."""

    obs: object
    reward: float
    terminated: bool
    truncated: bool
    info: dict


class Silent:
    """A stream that does nothing but raise."""

    def __getattr__(self, name):
        raise RuntimeError(name)


def _replace_output():
    sys.stdout = sys.stderr = Silent()


ENTERED: list = []  # a mode ends with its object


def _change_settings():
    """Settings of the process under which an update fails, or gives other bits."""
    import torch

    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(torch.get_num_threads() + 1)
    ENTERED.append(torch.inference_mode())
    ENTERED[-1].__enter__()
    np.seterr(all="raise")
    warnings.simplefilter("error")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _change_interpreter()


def _change_interpreter():
    """What writes, imports, child processes and the end of the process need."""
    sys.excepthook = sys.unraisablehook = threading.excepthook = None
    warnings.showwarning = None
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.umask(0o777)
    sys.path.clear()


class Odd(gym.Env):
    """Episodes of ten steps; one observation (3,) float32, two actions, reward 1.

    Args:
        how: a key of `STEP`, `RESET`, `CLOSE`, `MAKE` or `ACCEPTED`; empty: it behaves.

    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    at = AT  # a test repairs the envs by raising it

    def __init__(self, how="", render_mode=None):
        self.how, self.render_mode, self.age, self.t = how, render_mode, 0, 0
        pixels = how.startswith("pixels")
        pixel_space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
        self.observation_space = pixel_space if pixels else spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(2)
        if how.startswith("discrete"):
            self.observation_space = spaces.Discrete(5)
        if how in MAKE:
            MAKE[how][0](self)

    def obs(self):
        return self.observation_space.sample() * 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        obs = self.obs()
        if self.how in RESET and self.age >= self.at:
            return RESET[self.how][0](obs)
        return obs, {}

    def step(self, action):
        self.age, self.t = self.age + 1, self.t + 1
        result = [self.obs(), 1.0, self.t == 10, False, {}]
        found = STEP.get(self.how) or ACCEPTED.get(self.how)
        if found is None or self.age < self.at:
            return tuple(result)
        change = found[0] if isinstance(found, tuple) else found
        return change(result)

    def render(self):
        if self.how == "render_exits":
            sys.exit(0)
        return None if self.how == "render_none" else np.zeros((64, 64, 3), np.uint8)

    def close(self):
        if self.how in CLOSE:
            CLOSE[self.how]()


class OwnSpace(spaces.Space):
    """A space of the env's own, of which nothing is known."""

    def __init__(self):
        super().__init__()


def obs(value):
    return lambda result: (value, *result[1:])


def field(index, value):
    def change(result):
        result[index] = value
        return tuple(result)

    return change


def raises(error):
    return lambda *_: _raise(error)


RAISED = "the env raised "
SHAPE = "its space declares shape (3,)"
STEP = {
    # name: (change, exit code, part of the message)
    "exits": (lambda _: sys.exit(0), 1, RAISED + "SystemExit: 0"),
    "exits_at_once": (lambda _: os._exit(0), 1, RAISED + "SystemExit: 0"),
    "interrupts": (raises(KeyboardInterrupt()), 1, RAISED + "KeyboardInterrupt"),
    "generator": (raises(GeneratorExit()), 1, RAISED + "GeneratorExit"),
    "stop_iteration": (raises(StopIteration()), 1, RAISED + "StopIteration"),
    "base": (raises(BaseException("base")), 1, RAISED + "BaseException: base"),
    "unreadable": (raises(Unreadable()), 1, RAISED + "Unreadable: its text cannot be read"),
    "escapes": (raises(RuntimeError("\x1b[2J\nsecond")), 1, r"RuntimeError: \x1b[2J"),
    "huge": (raises(RuntimeError("x" * 10**6)), 1, RAISED + "RuntimeError: xxx"),
    "four": (lambda r: tuple(r[:4]), 1, "returned a tuple of 4 values"),
    "nothing": (lambda _: None, 1, "step() of the env returned None"),
    "shape_1": (obs(np.zeros(1, np.float32)), 1, "of shape (1,); " + SHAPE),
    "shape_13": (obs(np.zeros((1, 3), np.float32)), 1, "of shape (1, 3); " + SHAPE),
    "shape_5": (obs(np.zeros(5, np.float32)), 1, "of shape (5,); " + SHAPE),
    "scalar": (obs(0.5), 1, "of shape (); " + SHAPE),
    "obs_none": (obs(None), 1, "observation"),
    "objects": (obs(np.array([1, None, 2], object)), 1, "of dtype object"),
    "strings": (obs(["0", "1", "2"]), 1, "of dtype <U1"),
    "obs_complex": (obs(np.zeros(3, complex)), 1, "of dtype complex128"),
    "obs_beyond": (obs(np.full(3, 1e39)), 3, "an observation with inf"),
    "pixels_nan": (obs(np.full((40, 40, 3), np.nan)), 3, "with nan, declared as uint8"),
    "pixels_part": (obs(np.full((40, 40, 3), 0.7)), 1, "with 0.7; its space declares dtype uint8"),
    "pixels_negative": (obs(np.full((40, 40, 3), -5)), 1, "with -5; its space"),
    "pixels_300": (obs(np.full((40, 40, 3), 300)), 1, "with 300; its space"),
    "pixels_shape": (obs(np.zeros((41, 40, 3), np.uint8)), 1, "of shape (41, 40, 3); its"),
    "discrete_out": (obs(5), 1, "with 5; its space declares 0 to 4"),
    "discrete_negative": (obs(-1), 1, "with -1; its space declares 0 to 4"),
    "discrete_part": (obs(2.5), 1, "with 2.5; its space declares dtype int64"),
    "reward_nan": (field(1, float("nan")), 3, "a reward of nan"),
    "reward_beyond": (field(1, 1e39), 3, "a reward of 1e+39"),
    "reward_sums": (field(1, -3e38), 3, "a reward of -3e+38"),
    "reward_text": (field(1, "1.0"), 1, "a reward that is not a number: '1.0'"),
    "reward_none": (field(1, None), 1, "a reward that is not a number: None"),
    "reward_two": (field(1, np.ones(2)), 1, "a reward that is not a number"),
    "end_text": (field(2, "False"), 1, "terminated='False'"),
    "end_two": (field(2, 2), 1, "terminated=2"),
    "end_none": (field(3, None), 1, "truncated=None"),
    "info_text": (field(4, "info"), 1, "info='info'"),
}
RESET = {
    "reset_exits": (lambda _: sys.exit(0), 1, RAISED + "SystemExit: 0"),
    "reset_alone": (lambda o: o, 1, "reset() of the env returned an array"),
    "reset_none": (lambda _: None, 1, "reset() of the env returned None"),
    "reset_shape": (lambda _: (np.zeros(7, np.float32), {}), 1, "of shape (7,); " + SHAPE),
    "reset_nan": (lambda _: (np.full(3, np.nan, np.float32), {}), 3, "an observation with nan"),
}
CLOSE = {
    "close_raises": lambda: _raise(AttributeError("no viewer")),
    "close_exits": lambda: sys.exit(3),
    "close_exits_at_once": lambda: os._exit(0),
    "close_interrupts": lambda: _raise(KeyboardInterrupt()),
}
MAKE = {
    # name: (change, part of the message); exit code 2
    "make_exits": (lambda _: sys.exit(0), "cannot be made: SystemExit: 0"),
    "make_exits_at_once": (lambda _: os._exit(0), "cannot be made: SystemExit: 0"),
    "make_base": (lambda _: _raise(BaseException("base")), "cannot be made: BaseException: base"),
    "make_unreadable": (lambda _: _raise(Unreadable()), "its text cannot be read"),
    "no_space": (lambda env: setattr(env, "observation_space", None), "no observation_space"),
    "no_actions": (lambda env: delattr(env, "action_space"), "no action_space"),
    "own_space": (lambda env: setattr(env, "observation_space", OwnSpace()), "no fixed size"),
    "own_actions": (lambda env: setattr(env, "action_space", OwnSpace()), "the action space of"),
    "empty_space": (
        lambda env: setattr(env, "observation_space", spaces.Box(0, 1, (0,))),
        "no values",
    ),
    "empty_action": (lambda env: setattr(env, "action_space", spaces.Box(0, 1, (0,))), "no values"),
    "odd_space": (lambda env: setattr(env, "action_space", range(3)), "one of builtins.range"),
}
ACCEPTED = {
    "reward_array": field(1, np.ones(1)),
    "reward_int": field(1, 1),
    "reward_bool": field(1, True),
    "reward_numpy": field(1, np.float64(1.0)),
    "end_array": lambda r: (r[0], r[1], np.array([r[2]]), np.bool_(False), r[4]),
    "named_tuple": lambda r: NamedStep(*r),
    "step_list": list,
    "info_none": field(4, None),
    "obs_list": obs([0.0, 0.0, 0.0]),
    "obs_float64": obs(np.zeros(3)),
    "obs_int": obs(np.zeros(3, int)),
    "pixels_whole": obs(np.full((40, 40, 3), 7.0)),
    "discrete_float": obs(2.0),
    "replaces_output": lambda r: (_replace_output(), *r)[1:],
    "settings": lambda r: (_change_settings(), *r)[1:],
    "forks": lambda r: (os.fork(), *r)[1:],
    "forks_and_raises": lambda r: tuple(r) if os.fork() else _raise(ValueError("child")),
    "changes_folder": lambda r: (_change_folder(), *r)[1:],
}

gym.register("Odd-v0", Odd)


class TakesItem(Odd):
    """Uses actions as those of `action_space.sample()`."""

    def step(self, action):
        assert type(action) is type(self.action_space.sample())
        assert action.item() == int(action)
        return super().step(action)


gym.register("OddTakesItem-v0", TakesItem)


class SameArray(Odd):
    """Returns one array each time; its first number is the step of the episode."""

    def __init__(self, render_mode=None):
        super().__init__("", render_mode)
        self.array = np.zeros(3, np.float32)

    def obs(self):
        self.array[0] = self.t
        return self.array


gym.register("OddSameArray-v0", SameArray)
