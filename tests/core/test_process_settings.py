"""Settings of the process keep their values while a run needs them, and the user's afterwards."""

from __future__ import annotations

import signal
import warnings

import numpy as np
import pytest
import torch

from rl_cli.core import process_settings as module
from rl_cli.core.process_settings import process_settings, signal_settings


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
    with process_settings(1) as settings, settings.keeping(signal_settings(True)):
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
