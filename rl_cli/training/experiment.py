"""One run, from its configuration to its outcome.

This module does not import torch at the top, so that bad input is refused before torch is imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rl_cli.buffers.memory_check import require_memory
from rl_cli.config.labels import Labels
from rl_cli.config.run import RunConfig
from rl_cli.core import devices, processors, start_folder, terminal
from rl_cli.core.imports import without_collection
from rl_cli.core.process_settings import ProcessSettings, guarded, process_settings
from rl_cli.envs.faults import note_of
from rl_cli.envs.vector import VectorEnv
from rl_cli.envs.vector_factory import make_envs
from rl_cli.evaluation.evaluator import Evaluator
from rl_cli.evaluation.watchdog import Watchdog
from rl_cli.storage import run_folder
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.storage.policy_only import require_state
from rl_cli.tracking.display import make_monitor
from rl_cli.training import resume
from rl_cli.training.outcome import Outcome, already_complete
from rl_cli.training.plugins import Plugins, find_plugins
from rl_cli.training.prefill import read_prefill

if TYPE_CHECKING:
    from rl_cli.algos.base import Algorithm
    from rl_cli.training.run import Experiment


class Made(NamedTuple):
    """The parts of a run that are made before its folder."""

    cfg: RunConfig
    algo: Algorithm[Any]
    envs: VectorEnv
    evaluator: Evaluator
    settings: ProcessSettings
    plugins: Plugins
    labels: Labels


def train(
    cfg: RunConfig,
    recorded: Mapping[str, Any],
    labels: Sequence[object],
    repeats: Path | None = None,
) -> Outcome:
    """Start a run, or resume the run that `cfg.resume` names.

    Args:
        cfg: the typed configuration.
        recorded: the same configuration as composed by Hydra, in plain values; for config.yaml.
        labels: fields of `Labels`.
        repeats: the folder of a run that this one is to reproduce.

    Raises:
        BadInput: before anything is written.

    """
    with guarded():
        return _train(cfg, recorded, Labels.of(labels), repeats)


def _train(
    cfg: RunConfig, recorded: Mapping[str, Any], labels: Labels, repeats: Path | None
) -> Outcome:
    devices.require_driver(cfg.device)
    earlier = resume.folder_of(cfg)
    changed: dict[str, Any] = {}
    if earlier is not None:
        changed = resume.changes(resume.recorded(earlier)[0], recorded)
        if not changed and run_folder.read_status(earlier).get("state") == "completed":
            return already_complete(earlier, cfg)
        require_state(earlier)
    plugins = find_plugins(cfg)
    content = labels.recorded() | {k: v for k, v in recorded.items() if k not in resume.HOW}
    run_folder.config_text(content)  # refuses what could not be read again
    if earlier is not None:  # an env may change the current folder
        earlier = start_folder.absolute(earlier)
    with contextlib.ExitStack() as stack, _envs_of(cfg) as (envs, evaluator):
        prefill = None
        if not resume.has_checkpoint(earlier):
            prefill = read_prefill(cfg.algo, cfg.env, envs.spec, envs.reward_normalizer)
        require_memory(cfg.algo, envs.spec)
        kept = process_settings(processors.number_of(cfg.threads), cfg.seed)
        settings = stack.enter_context(kept)
        with without_collection():
            from rl_cli.training.run import Resumption, make_run_algorithm  # imports much of torch

        algo = make_run_algorithm(cfg, envs, earlier)
        with _lock(earlier) or run_folder.create(*labels[:2], cfg.seed, cfg.run_dir) as folder:
            saved = None if earlier is None else resume.load_checkpoint(earlier, cfg, cfg.algo)
            if earlier is None:
                run_folder.write_config(folder, content)
            if saved is None and prefill is not None:
                algo.prefill(prefill)
            resumed = earlier is not None
            made = Made(cfg, algo, envs, evaluator, settings, plugins, labels)
            experiment = _experiment(made, folder, saved, resumed, repeats)
            return experiment.go(Resumption(changed, content) if resumed else None)


@contextlib.contextmanager
def _envs_of(cfg: RunConfig) -> Iterator[tuple[VectorEnv, Evaluator]]:
    """The envs of a run, closed at the end.

    A close() that fails or hangs is reported; it does not change how the run has ended.
    """
    envs, problems = make_envs(cfg), list[str | None]()
    watchdog = Watchdog(cfg.step_timeout)
    try:
        evaluator = Evaluator(cfg.env, envs.obs_normalizer)
        try:
            yield envs, evaluator
        finally:
            with watchdog.watching():
                problems.append(evaluator.close())
    finally:
        with watchdog.watching():
            problems += envs.close()
        for problem in dict.fromkeys(filter(None, problems)):
            terminal.warn(note_of(problem))


def _experiment(
    made: Made, folder: Path, saved: resume.Saved | None, resumed: bool, repeats: Path | None
) -> Experiment:
    """Build a run in its folder."""
    from rl_cli.training.build import Parts, build
    from rl_cli.training.conditions import conditions, own_sources, packages
    from rl_cli.training.provenance import Provenance
    from rl_cli.training.run import Experiment
    from rl_cli.training.signals import Interruption

    cfg, algo, envs, evaluator, settings, plugins, labels = made
    monitor = make_monitor(cfg.shown)
    interruption = Interruption(monitor)
    parts = Parts(cfg, algo, envs, evaluator, settings, monitor, interruption, plugins, labels)
    run = build(parts, folder, saved, resumed)
    describe = (conditions, packages, own_sources)
    provenance = Provenance(folder, *(what(algo, cfg.env) for what in describe))
    return Experiment(parts, run, folder, interruption, provenance, repeats)


def _lock(folder: Path | None) -> FolderLock | None:
    return None if folder is None else FolderLock.take(folder)
