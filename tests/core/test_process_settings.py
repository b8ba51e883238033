"""Settings of the process keep their values while a run needs them, and the user's afterwards."""

from __future__ import annotations

import gc
import io
import locale
import os
import resource
import signal
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from rl_cli.core import process_settings as module
from rl_cli.core.interpreter import now
from rl_cli.core.process_settings import (
    evaluation_settings,
    guarded,
    process_settings,
    signal_settings,
    without_torch,
)


def handler(signum, frame):
    """Of an env."""


ENTERED: list = []  # a mode ends with its object


def enter(mode):
    mode.__enter__()
    ENTERED.append(mode)


CHANGES = {
    "torch's number of threads": lambda: torch.set_num_threads(3),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's gradient mode": lambda: torch.set_grad_enabled(False),
    "torch's inference mode": lambda: enter(torch.inference_mode()),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "subnormal numbers": lambda: torch.set_flush_denormal(True),
    "numpy's treatment of floating-point errors": lambda: np.seterr(under="raise"),
    "warnings as errors": lambda: warnings.simplefilter("error"),
    "torch's deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "torch's precision of matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "the handler of SIGINT": lambda: signal.signal(signal.SIGINT, handler),
    "the handler of SIGALRM": lambda: signal.signal(signal.SIGALRM, handler),
}


IMPLIED = {"torch's inference mode": "torch's gradient mode"}  # which it switches off, too


def values():
    """What an update step, numpy and Python do under the settings."""
    with warnings.catch_warnings(record=True):
        warnings.warn("seen", UserWarning, stacklevel=1)  # an exception under "error"
        tensor = torch.ones(2, requires_grad=True)
        (tensor * 2).sum().backward()
        small = np.array([1e-39], np.float32) * np.float32(1e-5)  # raises under under="raise"
    state = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGALRM),
    )
    halved = float(torch.tensor([2e-39], device="cpu")[0] * 0.5)
    return tensor.dtype, str(tensor.device), tensor.grad.tolist(), float(small[0]), halved, state


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_set_back_and_named_once(name):
    with process_settings(1) as settings, settings.keeping(now(signal_settings(True))):
        before = values()
        assert settings.restore(at_once=True) == []
        for named in ([name], []):
            CHANGES[name]()
            found = settings.restore(at_once=True)
            assert found == named or (name in IMPLIED and found == [*named, IMPLIED[name]])
            assert values() == before


def test_slow_settings_are_looked_at_once_a_second(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    name = "numpy's treatment of floating-point errors"
    with process_settings(1) as settings:
        settings.restore()
        CHANGES[name]()
        assert settings.restore() == []
        now[0] = module.SECONDS
        assert settings.restore() == [name]


def test_the_users_own_settings_come_back():
    before = torch.get_num_threads(), torch.get_default_dtype(), np.geterr(), list(warnings.filters)
    try:
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        np.seterr(all="raise")
        warnings.simplefilter("error")
        users = np.geterr(), warnings.filters[0]
        with process_settings(1):
            assert values()[:2] == (torch.float32, "cpu")
        assert (torch.get_num_threads(), torch.get_default_dtype()) == (2, torch.float64)
        assert (np.geterr(), warnings.filters[0]) == users
    finally:
        torch.set_num_threads(before[0])
        torch.set_default_dtype(before[1])
        np.seterr(**before[2])
        warnings.filters[:] = before[3]


def lower(kind):
    """Lower a limit of the process to a value with which it can go on."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (10**6 if soft == -1 else soft - 1, hard))


ONLY = next(folder for folder in sys.path if sys.path.count(folder) == 1)

INTERPRETER = {
    "sys.argv": lambda: sys.argv.clear(),
    "sys.excepthook": lambda: setattr(sys, "excepthook", None),
    "sys.unraisablehook": lambda: delattr(sys, "unraisablehook"),
    "sys.displayhook": lambda: setattr(sys, "displayhook", handler),
    "threading.excepthook": lambda: setattr(threading, "excepthook", None),
    "warnings.showwarning": lambda: setattr(warnings, "showwarning", handler),
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() - 1),
    "a limit of the process (setrlimit)": lambda: lower(resource.RLIMIT_FSIZE),
    "the module search path": lambda: sys.path.remove(ONLY),
    "the garbage collector": gc.disable,
    "the file mode mask": lambda: os.umask(0o777),
    "the locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "the handler of SIGPIPE": lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL),
    "the handler of SIGCHLD": lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    "the signals that are blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
}  # fmt: skip


def interpreter_state():
    mask = os.umask(0o22)
    os.umask(mask)
    hooks = sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook
    handlers = [signal.getsignal(s) for s in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM)]
    return [
        list(sys.argv), *hooks, warnings.showwarning, sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_FSIZE),
        gc.isenabled(), mask, locale.setlocale(locale.LC_ALL), *handlers,
        signal.pthread_sigmask(signal.SIG_BLOCK, ()), sorted(sys.path), np.geterr(), sys.stdout,
    ]  # fmt: skip


@pytest.fixture
def utf8():
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize("name", INTERPRETER)
def test_state_of_the_interpreter_is_set_back_when_an_env_is_made_stepped_and_closed(utf8, name):
    before = interpreter_state()
    with guarded():
        INTERPRETER[name]()  # as the constructor of an env may
        with process_settings(1) as settings:
            assert interpreter_state() == before
            INTERPRETER[name]()
            assert settings.restore(at_once=True) == [name]
            assert interpreter_state() == before
        INTERPRETER[name]()
    assert interpreter_state() == before


def test_limits_that_an_env_raises_and_folders_that_it_adds_stay(tmp_path):
    depth = sys.getrecursionlimit()
    with guarded(), process_settings(1) as settings:
        sys.setrecursionlimit(depth + 100)
        sys.path.append(str(tmp_path))
        assert settings.restore(at_once=True) == []
        assert (sys.getrecursionlimit(), sys.path[-1]) == (depth + 100, str(tmp_path))
    sys.setrecursionlimit(depth)
    sys.path.remove(str(tmp_path))


def test_commands_that_only_play_keep_signals_and_streams_too():
    notes, stdout = [], sys.stdout
    term = signal.getsignal(signal.SIGTERM)
    with guarded():
        signal.signal(signal.SIGTERM, handler)  # as the constructor of an env may
        with evaluation_settings() as settings:
            assert signal.getsignal(signal.SIGTERM) == term
            act = settings.restoring(
                lambda *words: (*words, torch.get_default_dtype()), notes.append
            )
            torch.set_default_dtype(torch.float64)
            assert act(1, 2) == (1, 2, torch.float32)
            signal.signal(signal.SIGTERM, handler)
            sys.stdout = io.StringIO()
            settings.restore_and_notify(notes.append, at_once=True)
            assert (sys.stdout, signal.getsignal(signal.SIGTERM)) == (stdout, term)
        signal.signal(signal.SIGTERM, handler)
        light = without_torch()
        assert signal.getsignal(signal.SIGTERM) == term
        gc.disable()
        light.restore_and_notify(notes.append, at_once=True)
        assert gc.isenabled()
        sys.stdout = io.StringIO()
        np.seterr(all="raise")
    assert (sys.stdout, np.geterr()["over"]) == (stdout, "warn")
    words = [
        "torch's default dtype",
        "the handler of SIGTERM",
        "sys.stdout",
        "the garbage collector",
    ]
    assert [note.partition(", a setting")[0] for note in notes] == [f"the env changed {w}" for w in words]  # fmt: skip
