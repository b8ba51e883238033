"""`rl-train --doctor`: builds what a run needs, makes an update, and reports on both; writes no run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from rl_cli import __version__
from rl_cli.buffers.memory_check import buffer_bytes, require_memory
from rl_cli.config.run import RunConfig
from rl_cli.core import devices, processors, terminal
from rl_cli.core.errors import RunError
from rl_cli.core.process_settings import guarded, process_settings
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.vector_factory import make_envs
from rl_cli.evaluation.frames import VideoUnavailable
from rl_cli.evaluation.video import probe_renderer
from rl_cli.evaluation.watchdog import Watchdog
from rl_cli.tracking.console import say_fitted
from rl_cli.tracking.formatting import duration
from rl_cli.training.plugins import find_plugins

if TYPE_CHECKING:
    from rl_cli.algos.base import Algorithm

PACKAGES = ("torch", "numpy", "gymnasium", "hydra-core")

Report = Callable[[str, str], None]
"""Prints a finding: what, and its value."""


class Doctor:
    """Examines one configuration.

    Args:
        cfg: of the run to examine.
        timeout: seconds within which the first update must happen.
        measured: seconds of training after it whose speed is measured.

    """

    def __init__(self, cfg: RunConfig, timeout: float = 60.0, measured: float = 2.0) -> None:
        self.cfg, self.timeout, self.measured = cfg, timeout, measured
        self.problems: list[str] = []

    def examine(self, title: str) -> list[str]:
        """Print every finding. Returns the problems; none: a run with this configuration can start."""
        with guarded():
            return self._examine(title)

    def _examine(self, title: str) -> list[str]:
        say_fitted(title)
        _report("versions", _versions())
        with self._noting():
            devices.require_driver(self.cfg.device)
            find_plugins(self.cfg)
            with self._made_envs() as envs:
                self._envs(envs)
                require_memory(self.cfg.algo, envs.spec)
                with process_settings(processors.number_of(self.cfg.threads), self.cfg.seed):
                    self._training(envs)
        self._renderer()
        terminal.say(*self.problems, "wrong: see above" if self.problems else "all is well")
        return self.problems

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Turn an error of a run into a problem; what follows in the body is not examined."""
        try:
            yield
        except RunError as error:
            self.problems += str(error).splitlines()

    @contextlib.contextmanager
    def _made_envs(self) -> Iterator[VectorEnv]:
        envs = make_envs(self.cfg)
        try:
            yield envs
        finally:
            with Watchdog(self.cfg.step_timeout).watching():
                problems = envs.close()
            for problem in problems:
                _note(f"close() of the env failed: {problem}")

    def _envs(self, envs: VectorEnv) -> None:
        spec, action = envs.spec, envs.spec.action
        bounds = "" if action.kind == "box" else f" {'x'.join(map(str, action.sizes))}"
        _report("env", f"{self.cfg.env.id}; env.num_envs={envs.num_envs}")
        _report("observations", f"{_shape(spec.obs_shape)} {spec.obs_dtype}")
        _report("actions", f"{action.kind}{bounds or f' {_shape(action.shape)}'}")
        size = buffer_bytes(self.cfg.algo, spec)
        _report("buffer", "grows with the episodes" if size is None else _bytes(size))

    def _training(self, envs: VectorEnv) -> None:
        """Build the networks, make an update, and measure the speed of training."""
        from rl_cli.training.build import (
            store_raw,
            use_compiler,
        )  # imports torch, which takes seconds
        from rl_cli.training.run import make_run_algorithm

        cfg = _starting_at_once(self.cfg)
        algo = make_run_algorithm(cfg, envs, None)
        parameters = sum(value.numel() for value in algo.policy_state().values())
        _report("encoder", _encoder(algo))
        _report("parameters", f"{parameters:,}")
        _report("device", str(algo.device))
        use_compiler(cfg, algo, envs.spec, _note, lambda: False, _quietly)
        store_raw(algo, envs)
        with Watchdog(cfg.step_timeout).watching():
            self._update(algo, envs)

    def _update(self, algo: Algorithm[Any], envs: VectorEnv) -> None:
        from rl_cli.collectors.factory import make_collector

        collector = make_collector(algo, envs, self.cfg.total_timesteps, lambda: False)
        loop = _Loop(algo, envs, collector.collect, self.cfg.total_timesteps)
        envs.reset()
        loop.run(lambda: loop.updated, self.timeout)
        compiling = algo.learner.compile_seconds
        if not algo.learner.updates:
            pace = loop.step / max(loop.seconds, 1e-9)
            text = (
                f"none within {duration(loop.seconds)}, {loop.step:,} steps ({pace:,.0f} steps/s)"
            )
            _report("first update", text)
        else:
            _report("first update", f"after {loop.step:,} steps, {duration(loop.seconds)}")
        if algo.learner.is_compiled:
            _report("compiler", f"{_compiler()}; the update step took {compiling:.1f} s")
        else:
            _report("compiler", f"{_compiler()}; the update step is not compiled")
        before, start = loop.step, loop.seconds
        loop.run(lambda: loop.updated and loop.seconds - start > self.measured, self.timeout)
        speed = (loop.step - before) / max(loop.seconds - start, 1e-9)
        if speed > 0:
            steps, seconds = self.cfg.total_timesteps, duration(self.cfg.total_timesteps / speed)
            text = f"about {seconds} for {steps:,} steps ({speed:,.0f} steps/s; without evaluations and videos)"
            _report("time expected", text)

    def _renderer(self) -> None:
        if not self.cfg.video.episodes:
            _report("renderer", "not needed: video.episodes=0")
            return
        try:
            height, width, fps = probe_renderer(self.cfg.env)
        except (VideoUnavailable, RunError) as error:  # a run is trained without videos then
            reason = error.what if isinstance(error, RunError) else error
            _report("renderer", f"none, so there will be no videos: {reason}")
            return
        _report("renderer", f"frames of {width}x{height}, {fps:g} per second")


class _Loop:
    """Collects and updates as the trainer does, without callbacks.

    Attributes:
        step: env steps so far, over all envs.
        seconds: since the loop was made, without the time between two calls of `run`.
        updated: whether the last collection ended with an update, so that a speed counts whole cycles.

    """

    def __init__(self, algo: Algorithm[Any], envs: VectorEnv, collect: Any, budget: int) -> None:
        self.algo, self.envs, self.collect, self.budget = algo, envs, collect, budget
        self.step, self.seconds, self.updated = 0, 0.0, False

    def run(self, is_over: Callable[[], bool], timeout: float) -> None:
        """Until the condition holds, seconds have passed, or the budget is used."""
        self.updated, end = False, self.seconds + timeout
        while self.step < self.budget and self.seconds < end and not is_over():
            start, updates = time.perf_counter(), self.algo.learner.updates
            self.step += self.collect(self.step, self.budget).steps
            self.algo.try_update(self.step)
            self.envs.take_episodes()
            self.updated = self.algo.learner.updates > updates
            self.seconds += time.perf_counter() - start


def _starting_at_once(cfg: RunConfig) -> RunConfig:
    """The configuration without the random steps before the first update, which prove nothing."""
    if not hasattr(cfg.algo, "learning_starts"):
        return cfg
    changed: dict[str, Any] = {"learning_starts": 0}
    return dataclasses.replace(cfg, algo=dataclasses.replace(cfg.algo, **changed))


def _encoder(algo: Algorithm[Any]) -> str:
    sizes = "-".join(map(str, algo.cfg.hidden_sizes)) or "none"
    hidden = f"hidden layers: {sizes}, {algo.cfg.activation}"
    return "; ".join(filter(None, [algo.encoder_description, hidden]))


def _compiler() -> str:
    from rl_cli.engine.build_cache import find_compiler

    try:
        return find_compiler()
    except RuntimeError as error:
        return str(error)


def _versions() -> str:
    found = [f"rl-cli {__version__}", f"Python {platform.python_version()}"]
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1"


def _bytes(size: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1e3:.1f} kB"


def _quietly(reason: str) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _note(text: str) -> None:
    _report("note", text)


def _report(what: str, value: str) -> None:
    say_fitted(f"  {what:<15}{value}", indent=17)
