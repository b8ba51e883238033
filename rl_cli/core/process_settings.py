"""Settings of the whole process on which training depends. An env may change them for its own use.

They are set for the time of a run or an evaluation, compared before each update and set again where they
differ: an update must not depend on what an env did to torch or numpy. What was set before is restored at the end.
"""

from __future__ import annotations

import functools
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from rl_cli.core.imports import without_collection
from rl_cli.core.processes import STOP_SIGNALS, in_main_thread

NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
"""numpy's own defaults of `np.seterr`."""

SUBNORMAL = 1e-310

_entered: list[Any] = []
"""Modes of torch, which end when their objects do."""

SECONDS = 1.0
"""Between two looks at the settings that take microseconds to read."""


class Setting(NamedTuple):
    """One setting: its name for the user, how to read it and how to set it."""

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], object]


class ProcessSettings:
    """Keeps settings at their values.

    Args:
        quick: settings that are read in a tenth of a microsecond or so.
        slow: others.

    """

    def __init__(self, quick: Sequence[Setting], slow: Sequence[Setting]) -> None:
        self.quick, self.readers = list(quick), [setting.get for setting in quick]
        self.wanted = [read() for read in self.readers]
        self.slow = [(setting, setting.get()) for setting in slow]
        self.named: set[str] = set()  # changed so far
        self.next_look = 0.0

    @contextmanager
    def keeping(self, settings: Sequence[Setting]) -> Iterator[None]:
        """In the body keep these too, at their present values."""
        before = self.slow
        self.slow = [*before, *((setting, setting.get()) for setting in settings)]
        try:
            yield
        finally:
            self.slow = before

    def restore(self, at_once: bool = False) -> list[str]:
        """Set again what was changed. A microsecond if nothing was.

        Args:
            at_once: look at the slow settings even if a second has not passed.

        Returns:
            Names of the settings that were changed, each only once.

        """
        changed: list[str] = []
        if [read() for read in self.readers] != self.wanted:
            changed += _set_again(zip(self.quick, self.wanted, strict=True))
        if at_once or time.monotonic() >= self.next_look:
            self.next_look = time.monotonic() + SECONDS
            changed += _set_again(iter(self.slow))
        if not changed:
            return changed
        new = [name for name in changed if name not in self.named]
        self.named.update(new)
        return new


def _set_again(wanted: Iterator[tuple[Setting, Any]]) -> list[str]:
    changed = []
    for setting, value in wanted:
        if setting.get() != value:
            setting.put(value)
            changed.append(setting.name)
    return changed


@contextmanager
def process_settings(threads: int, seed: int | None = None) -> Iterator[ProcessSettings]:
    """In the body torch uses `threads` CPU threads, float32 and gradients, and numpy raises no errors.

    Args:
        threads: of torch's operations on the CPU.
        seed: of torch's own generator, from which only an env or a plugin may draw; None: as it is.

    """
    with without_collection():
        import torch

    quick, slow = _quick_settings(), _slow_settings()
    before = [(setting, setting.get()) for setting in (*quick, *slow)]
    state = torch.get_rng_state()
    # the others stay as the user has them
    _set_again(zip(quick, [threads, torch.float32, False, True, torch.device("cpu")], strict=False))
    _set_again(zip(slow, [NUMPY_ERRORS, *([] if sys.warnoptions else [[]])], strict=False))
    if seed is not None:
        torch.manual_seed(seed)
    try:
        yield ProcessSettings(quick, slow)
    finally:
        _set_again(iter(before))
        torch.set_rng_state(state)


def _quick_settings() -> list[Setting]:
    import torch
    from torch.overrides import _len_torch_function_stack as modes  # type: ignore[attr-defined]

    cpu = torch.device("cpu")

    def device() -> torch.device:  # a default device is a mode; to ask for it takes 5 us
        return torch.get_default_device() if modes() else cpu

    def set_device(device: torch.device) -> None:
        torch.set_default_device(None if device.type == "cpu" else device)  # None: also the fastest

    def set_inference(mode: bool) -> None:
        _entered.append(torch.inference_mode(mode))
        _entered[-1].__enter__()

    return [
        Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        Setting("torch's inference mode", torch.is_inference_mode_enabled, set_inference),
        Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
        Setting("torch's default device", device, set_device),
        Setting("subnormal numbers", lambda: SUBNORMAL * 0.5 == 0.0, torch.set_flush_denormal),
    ]


def _slow_settings() -> list[Setting]:
    import torch

    def set_errors(errors: dict[str, Any]) -> None:
        np.seterr(**errors)

    def raising() -> list[Any]:
        return [entry for entry in warnings.filters if entry[0] == "error"]

    def set_raising(wanted: list[Any]) -> None:
        kept = [entry for entry in warnings.filters if entry[0] != "error"]
        warnings.resetwarnings()
        warnings.filters[:] = [*wanted, *kept]  # type: ignore[index]

    return [
        Setting("numpy's treatment of floating-point errors", np.geterr, set_errors),
        Setting("warnings as errors", raising, set_raising),
        Setting(
            "torch's deterministic algorithms",
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        Setting(
            "torch's precision of matrix products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
    ]


def signal_settings(has_timer: bool) -> list[Setting]:
    """The handlers of stop signals and, if a `Watchdog` runs, of its timer; none outside of the main thread."""
    if not in_main_thread():
        return []
    kept = [*STOP_SIGNALS, signal.SIGALRM] if has_timer else list(STOP_SIGNALS)
    found = [
        Setting(
            f"the handler of {signal.Signals(signum).name}",
            functools.partial(signal.getsignal, signum),
            functools.partial(signal.signal, signum),
        )
        for signum in kept
    ]
    if has_timer:
        found.append(Setting("the interval timer", _interval, _set_interval))
    return found


def _interval() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[1]


def _set_interval(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
