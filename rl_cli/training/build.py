"""Builds the parts of a run and passes them to each other. The parts are built nowhere else."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rl_cli.algos.base import Algorithm
from rl_cli.algos.factory import use_machine_code, worth_compiling
from rl_cli.buffers.replay import ReplayBuffer
from rl_cli.collectors.factory import make_collector
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.core.errors import BadInput, RunError
from rl_cli.core.fields import StateError
from rl_cli.core.process_settings import ProcessSettings
from rl_cli.core.start_folder import relative
from rl_cli.core.types import EnvSpec, State, Waiting
from rl_cli.engine.compiler import source_digest
from rl_cli.envs.vector import VectorEnv
from rl_cli.evaluation.background import Background
from rl_cli.evaluation.evaluator import Evaluator
from rl_cli.storage.checkpoint_writer import CheckpointStore, Identity, package_versions
from rl_cli.storage.policy_file import load_policy_arrays
from rl_cli.tracking.console import Monitor
from rl_cli.tracking.csv_table import CsvSink
from rl_cli.tracking.hparams import differing, hparams
from rl_cli.tracking.logger import Logger
from rl_cli.tracking.sinks import Sink, SinkContext
from rl_cli.tracking.tensorboard import TensorBoardSink
from rl_cli.tracking.trackers.process import TRACKERS
from rl_cli.tracking.trackers.sink import TrackerSink
from rl_cli.training.callbacks.advice import AdviceCallback
from rl_cli.training.callbacks.base import Callback, CallbackContext, CallbackList
from rl_cli.training.callbacks.checkpoint import CheckpointCallback
from rl_cli.training.callbacks.disk_retry import DiskRetry
from rl_cli.training.callbacks.early_stopping import EarlyStopping
from rl_cli.training.callbacks.evaluation import EvaluationCallback
from rl_cli.training.callbacks.history import EvaluationHistory
from rl_cli.training.callbacks.metrics import MetricsCallback
from rl_cli.training.callbacks.reporter import Reporter
from rl_cli.training.callbacks.triggers import Trigger
from rl_cli.training.callbacks.video import VideoCallback, VideoRecorder
from rl_cli.training.conditions import conditions
from rl_cli.training.exactness import Exactness
from rl_cli.training.plugins import Plugins
from rl_cli.training.policy import RunPolicy
from rl_cli.training.resume import RESTORE, Saved
from rl_cli.training.trainer import Budget, Trainer

CHECK_EVERY_CUDA = 100
"""Updates between two checks of the gradient norm on CUDA, where reading it waits for the device."""


class Run(NamedTuple):
    """The parts of a run that its caller uses."""

    trainer: Trainer
    callbacks: CallbackList
    history: EvaluationHistory
    logger: Logger
    exactness: Exactness


class Parts(NamedTuple):
    """Arguments of `build`: the parts that exist before the run's folder does."""

    cfg: RunConfig
    algo: Algorithm[Any]
    envs: VectorEnv
    evaluator: Evaluator
    settings: ProcessSettings
    monitor: Monitor
    interrupted: Callable[[], bool]
    plugins: Plugins
    labels: Labels


def build(parts: Parts, folder: Path, saved: Saved | None, resumed: bool) -> Run:
    """Build a run.

    Args:
        parts: of the run; see `Parts`.
        folder: of the run.
        saved: the checkpoint to continue from; None: start at step 0.
        resumed: the folder contains an earlier run, with or without a checkpoint.

    Raises:
        BadInput: the checkpoint does not fit the configuration.

    """
    cfg, algo, envs, evaluator, settings, monitor, interrupted, plugins, labels = parts
    use_compiler(cfg, algo, envs.spec, monitor.note, interrupted, monitor.waiting)
    if saved is not None:
        load_weights(saved, algo, envs, folder)
    if not holds_normalized(saved):
        store_raw(algo, envs)
    step = 0 if saved is None else saved.manifest.step
    values = hparams(cfg, labels)
    resumed_at, differ = step if resumed else None, differing(labels, values)
    context = SinkContext(folder, values, resumed_at, differ, monitor.note)
    logger = Logger(make_sinks(cfg, context, plugins), evaluator.success_at, cfg.log.window)
    history = EvaluationHistory(cfg.stop.eval_window)
    restore_settings = functools.partial(settings.restore_and_notify, monitor.note)
    callbacks = CallbackList(make_callbacks(parts, folder, logger, history), restore_settings)
    collector = make_collector(algo, envs, cfg.total_timesteps, interrupted)
    budget = Budget(cfg.total_timesteps, cfg.total_episodes)
    trainer = Trainer(algo, collector, budget, callbacks, interrupted, exactness := Exactness())
    if saved is not None:
        inexact = load_state(trainer, saved.state, folder)
        compare(exactness, parts, saved, inexact)
    return Run(trainer, callbacks, history, logger, exactness)


def compare(exactness: Exactness, parts: Parts, saved: Saved, inexact: dict[int, str]) -> None:
    """Find out what differs from the run that wrote the checkpoint.

    Args:
        exactness: receives it.
        parts: of the run.
        saved: the checkpoint, whose state has been loaded.
        inexact: env -> why its episode was not restored from the checkpoint.

    """
    found = package_versions() | conditions(parts.algo, parts.cfg.env)
    exactness.resume(saved.manifest.step, saved.manifest.versions, found)
    exactness.compare_steps(parts.algo.learner)
    for why in dict.fromkeys(inexact.values()):
        which = ", ".join(str(i) for i, reason in inexact.items() if reason == why)
        exactness.add(why, f"{why} (env {which}); that episode restarts")


def use_compiler(
    cfg: RunConfig,
    algo: Algorithm[Any],
    spec: EnvSpec,
    notify: Callable[[str], None],
    interrupted: Callable[[], bool],
    waiting: Waiting,
) -> None:
    """Compile the update step of an algorithm at its first update, if the run is long enough to gain from it."""
    if worth_compiling(cfg.compile, algo):
        source = source_digest(sys.modules[type(algo).__module__])
        arithmetic = repr((algo.cfg, spec, source))
        use_machine_code(algo.learner, algo.cfg, arithmetic, notify, interrupted, waiting)


def store_raw(algo: Algorithm[Any], envs: VectorEnv) -> None:
    """Store raw observations in a replay buffer, which normalizes them when an update samples them.

    On-policy algorithms learn from observations as they acted on them.
    """
    if envs.obs_normalizer is not None and isinstance(algo.buffer, ReplayBuffer):
        algo.buffer.normalize_samples(envs.obs_normalizer)
        envs.report_raw(True)


def holds_normalized(saved: Saved | None) -> bool:
    """Whether a checkpoint of an earlier version has a buffer of normalized observations.

    Such a run keeps its earlier behavior.
    """
    state = None if saved is None else saved.state.get("algo")
    buffer = state.get("buffer") if isinstance(state, dict) else {"raw": True}
    return not (isinstance(buffer, dict) and buffer.get("raw") is True)


def make_sinks(cfg: RunConfig, context: SinkContext, plugins: Plugins) -> list[Sink]:
    """metrics.csv and eval.csv first; then TensorBoard, trackers and additional sinks, if configured."""
    sinks: list[Sink] = [CsvSink(context)]
    if cfg.log.tensorboard:
        sinks.append(TensorBoardSink(context))
    trackers = [name for name in TRACKERS if getattr(cfg.log, name)]
    sinks += [TrackerSink(name, cfg.log.project, context) for name in trackers]
    return [*sinks, *(make(context) for make in plugins.sinks)]


def make_callbacks(
    parts: Parts, folder: Path, logger: Logger, history: EvaluationHistory
) -> list[Callback]:
    """The callbacks of a run, in the order in which they run.

    Videos first: pending training episodes are not part of a checkpoint, and a video is rendered while
    the evaluation runs. Then the row, so that a checkpoint of the same step includes it.
    """
    cfg, algo, envs, evaluator, settings, monitor, interrupted, plugins, _ = parts
    policy = RunPolicy(
        algo, envs.obs_normalizer, functools.partial(settings.restore_and_notify, monitor.note)
    )
    reporter = Reporter(logger, monitor)
    context = CallbackContext(cfg, folder, policy.predict, history, reporter.note, interrupted)
    evaluate = Trigger(cfg.eval.every, cfg.eval.every_episodes)
    return [
        VideoCallback(make_recorder(parts, folder), cfg.video, envs.record_episodes, interrupted),
        make_metrics(parts, reporter),
        make_advice(parts, reporter),
        EvaluationCallback(history, evaluator, policy, cfg.eval, evaluate, reporter, interrupted),
        *(make(context) for make in plugins.callbacks),
        make_checkpoints(parts, folder, policy, logger, history),
        EarlyStopping(cfg.stop, history),
    ]


def make_metrics(parts: Parts, reporter: Reporter) -> MetricsCallback:
    learner, log = parts.algo.learner, parts.cfg.log
    check_every = 1 if learner.arrays is not None else CHECK_EVERY_CUDA
    trigger = Trigger(log.every, log.every_episodes)
    return MetricsCallback(reporter, trigger, lambda: learner.compile_seconds, check_every)


def make_advice(parts: Parts, reporter: Reporter) -> AdviceCallback:
    cfg, predict = parts.cfg, parts.algo.predict
    return AdviceCallback(parts.envs, predict, cfg.seed, reporter.note, Trigger(cfg.log.every))


def make_checkpoints(
    parts: Parts, folder: Path, policy: RunPolicy, logger: Logger, history: EvaluationHistory
) -> CheckpointCallback:
    cfg = parts.cfg
    identity = Identity(cfg.seed, parts.algo.cfg, cfg.env)
    store = CheckpointStore(
        folder / "checkpoints",
        identity,
        cfg.checkpoint.keep,
        functools.partial(conditions, parts.algo, cfg.env),
    )
    trigger, retry = Trigger(cfg.checkpoint.every), DiskRetry("checkpoints", parts.monitor.note)
    return CheckpointCallback(store, policy, logger, history, cfg.eval, trigger, retry)


def make_recorder(parts: Parts, folder: Path) -> VideoRecorder:
    cfg, algo, envs, _, settings, monitor, interrupted, *_ = parts
    on_cpu = algo.learner.arrays is not None  # a CUDA context does not survive a fork
    background = Background(cfg.video.background and on_cpu, interrupted, cfg.step_timeout)

    def notify(text: str) -> None:  # in a child process the lock of a live view may be held
        if not background.in_child:
            monitor.note(text)

    agent = (cfg.env, envs.obs_normalizer, settings.restoring(algo.predict, notify))
    return VideoRecorder(*agent, cfg.video, cfg.eval, folder / "videos", background, monitor.note)


def load_weights(saved: Saved, algo: Algorithm[Any], envs: VectorEnv, folder: Path) -> None:
    """Load the weights and observation statistics of a checkpoint. Raises BadInput."""
    try:
        load_policy_arrays(saved.policy, algo, envs.obs_normalizer)
    except ValueError as error:
        raise BadInput(
            f"the checkpoint does not fit the configuration of the run: {error}",
            relative(folder / "config.yaml"),
            "restore the configuration that the run was started with",
        ) from None


def load_state(trainer: Trainer, state: State, folder: Path) -> dict[int, str]:
    """Restore a checkpoint's state. -> env: why its replay was inexact. Raises BadInput."""
    try:
        trainer.state.load_state_dict(state)
        return trainer.collector.envs.inexact
    except RunError:
        raise
    except StateError as error:
        what = f"the checkpoint does not fit the run: {error}"
        raise BadInput(what, relative(folder / "checkpoints"), RESTORE) from error
    except Exception as error:  # of an env or a callback, which do not check what they load
        what = f"the checkpoint does not fit the run: {type(error).__name__}: {error}"
        raise BadInput(what, relative(folder / "checkpoints"), RESTORE) from error
