"""Settings of the whole process on which training depends. An env may change them for its own use.

They are set for the time of a run or an evaluation, compared before each update or evaluated action, and set
again where they differ: neither may depend on what an env did to torch or numpy. What was set before is restored
at the end.
"""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from rl_cli.core import interpreter
from rl_cli.core.imports import without_collection
from rl_cli.core.interpreter import Setting, Wanted, now, set_again
from rl_cli.core.processes import STOP_SIGNALS, in_main_thread, no_silent_exit
from rl_cli.core.start_folder import remembered

P = ParamSpec("P")
T = TypeVar("T")

NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
"""numpy's own defaults of `np.seterr`."""

SUBNORMAL = 1e-310

_entered: list[Any] = []
"""Modes of torch, which end when their objects do."""

SECONDS = 1.0
"""Between two looks at the settings that take microseconds to read."""


class Before(NamedTuple):
    """What there was before code of envs ran."""

    interpreter: list[Wanted]
    handlers: list[Wanted]  # of stop signals
    streams: list[Wanted]


_guarded: list[Before] = []


@contextmanager
def guarded() -> Iterator[None]:
    """In the body code of envs runs. Each command does that inside of one such context.

    The current folder is restored at the end, and the settings of the process; `os._exit` is an exception.
    """
    with remembered(), no_silent_exit():
        before = _before()
        numeric = now([*_numpy_settings(), *(_torch_settings() if "torch" in sys.modules else [])])
        _guarded.append(before)
        try:
            yield
        finally:
            _guarded.pop()
            set_again([*before.interpreter, *before.handlers, *before.streams, *numeric])


def _before() -> Before:
    """What `guarded` remembers; outside of one, what there is."""
    if _guarded:
        return _guarded[-1]
    kinds = interpreter.settings(), signal_settings(has_timer=False), interpreter.streams()
    return Before(*map(now, kinds))


class ProcessSettings:
    """Keeps settings at their values.

    Args:
        quick: settings that are read in a tenth of a microsecond or so, to be kept at their present values.
        slow: others, with their values.

    """

    def __init__(self, quick: Sequence[Setting], slow: Sequence[Wanted]) -> None:
        self.quick, self.readers = list(quick), [setting.get for setting in quick]
        self.wanted = [read() for read in self.readers]
        self.slow = list(slow)
        self.named: set[str] = set()  # changed so far
        self.next_look = 0.0

    @contextmanager
    def keeping(self, settings: Sequence[Wanted]) -> Iterator[None]:
        """In the body keep these too."""
        before = self.slow
        self.slow = [*before, *settings]
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
            changed += set_again(zip(self.quick, self.wanted, strict=True))
        if at_once or time.monotonic() >= self.next_look:
            self.next_look = time.monotonic() + SECONDS
            changed += set_again(self.slow)
        if not changed:
            return changed
        new = [name for name in changed if name not in self.named]
        self.named.update(new)
        return new

    def restore_and_notify(self, notify: Callable[[str], object], at_once: bool = False) -> None:
        """As `restore`, with a line for each setting that was changed."""
        for name in self.restore(at_once):
            notify(f"the env changed {name}, a setting of the whole process: it is set back")

    def restoring(self, act: Callable[P, T], notify: Callable[[str], object]) -> Callable[P, T]:
        """`act`, before each call of which changed settings are restored; for a policy that is evaluated."""

        def restore_and_act(*args: P.args, **kwargs: P.kwargs) -> T:
            self.restore_and_notify(notify)
            return act(*args, **kwargs)

        return restore_and_act


@contextmanager
def process_settings(threads: int, seed: int | None = None) -> Iterator[ProcessSettings]:
    """In the body torch uses `threads` CPU threads, float32 and gradients, and numpy raises no errors.

    Args:
        threads: of torch's operations on the CPU.
        seed: of torch's own generator, from which only an env or a plugin may draw; None: as it is.

    """
    with without_collection():
        import torch

    quick, slow = _quick_settings(), [*_numpy_settings(), *_torch_products()]
    before, state = now([*quick, *slow]), torch.get_rng_state()
    # the others stay as the user has them
    set_again(zip(quick, [threads, torch.float32, False, True, torch.device("cpu")], strict=False))
    set_again(zip(slow, [NUMPY_ERRORS, *([] if sys.warnoptions else [[]])], strict=False))
    if seed is not None:
        torch.manual_seed(seed)
    others = _before()
    set_again([*others.interpreter, *others.streams])
    try:
        yield ProcessSettings(quick, [*now(slow), *others.interpreter])
    finally:
        set_again(before)
        torch.set_rng_state(state)


@contextmanager
def evaluation_settings() -> Iterator[ProcessSettings]:
    """`process_settings` for episodes without training.

    Standard streams and the handlers of stop signals are kept too.
    """
    with process_settings(threads=1) as settings:  # fastest for a batch of one observation
        others = [*_before().handlers, *_before().streams]
        set_again(others)
        with settings.keeping(others):
            yield settings


def without_torch() -> ProcessSettings:
    """Of a command that does not use torch. Handlers of stop signals are set back now, and not kept."""
    before = _before()
    set_again([*before.interpreter, *before.handlers, *before.streams])
    return ProcessSettings([], [*before.interpreter, *before.streams, *now(_numpy_settings())])


def _quick_settings() -> list[Setting]:
    import torch
    from torch.overrides import _len_torch_function_stack as modes  # type: ignore[attr-defined]

    cpu = torch.device("cpu")

    def device() -> torch.device:  # a default device is a mode; reading it takes 5 us
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


def _numpy_settings() -> list[Setting]:
    """What numpy does about errors of floats, and which warnings are exceptions."""

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
    ]


def _torch_products() -> list[Setting]:
    """How torch multiplies and sums."""
    import torch

    return [
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


def _torch_settings() -> list[Setting]:
    return [*_quick_settings(), *_torch_products()]


def signal_settings(has_timer: bool) -> list[Setting]:
    """The handlers of stop signals and, if a `Watchdog` runs, of its timer; none outside of the main thread."""
    if not in_main_thread():
        return []
    kept = [*STOP_SIGNALS, signal.SIGALRM] if has_timer else list(STOP_SIGNALS)
    found = [interpreter.handler(signum) for signum in kept]
    if has_timer:
        found.append(Setting("the interval timer", _interval, _set_interval))
    return found


def _interval() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[1]


def _set_interval(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
