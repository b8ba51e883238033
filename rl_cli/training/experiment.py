"""One run, from its configuration to its outcome.

This module imports no torch: what can be refused without it is refused before it is imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rl_cli.buffers.memory_check import require_memory
from rl_cli.config.run import RunConfig
from rl_cli.core import devices
from rl_cli.envs.vector_factory import make_envs
from rl_cli.storage import run_folder
from rl_cli.storage.folder_lock import FolderLock
from rl_cli.tracking.console import relative
from rl_cli.training import resume
from rl_cli.training.build import read_prefill
from rl_cli.training.outcome import Outcome


def train(cfg: RunConfig, recorded: Mapping[str, Any], labels: tuple[str, str]) -> Outcome:
    """Start a run, or resume the run that `cfg.resume` names.

    Args:
        cfg: the typed configuration.
        recorded: the same as composed, plain values; written to config.yaml.
        labels: names of algorithm and env for the run's folder and title.

    Raises:
        BadInput: before anything is written to disk.

    """
    devices.require_driver(cfg.device)
    started = resume.begun(cfg)
    changed: dict[str, Any] = {}
    if started is not None:
        changed = resume.changes(resume.recorded(started)[0], recorded)
        if not changed and run_folder.read_status(started).get("state") == "completed":
            return _nothing_to_do(started, cfg)
    with contextlib.closing(make_envs(cfg)) as envs:
        prefill = read_prefill(cfg, cfg.algo, envs.spec, started)
        require_memory(cfg.algo, envs.spec)
        from rl_cli.training.run import (  # imports torch, which takes seconds
            Run,
            make_run_algorithm,
        )

        algo = make_run_algorithm(cfg, envs, started)
        written = {k: v for k, v in recorded.items() if k not in resume.HOW}
        with _locked(started) or run_folder.create(*labels, cfg.seed, cfg.run_dir) as folder:
            saved = None if started is None else resume.go_on_from(started, cfg, cfg.algo)
            run_folder.write_config(folder, {"labels": list(labels), **written})
            if saved is None and prefill is not None:
                algo.prefill(prefill)
            resumed = None if started is None else changed
            return Run(cfg, cfg.algo, algo, envs, folder, saved, labels, resumed).go()


def _locked(begun: Path | None) -> FolderLock | None:
    return None if begun is None else FolderLock.take(begun)


def _nothing_to_do(folder: Path, cfg: RunConfig) -> Outcome:
    status = run_folder.read_status(folder)
    if not cfg.quiet:
        by_episodes = str(status.get("reason")).startswith("total_episodes")
        longer = "total_episodes" if by_episodes else "total_timesteps"
        print(f"this run is complete: {relative(folder)}")
        print(f"longer:  rl-train resume={relative(folder)} {longer}=<more>")
    step, value = status.get("step"), status.get("eval_return")
    return Outcome(
        0,
        "completed",
        "was complete",
        step if isinstance(step, int) else 0,
        str(folder),
        float(value) if isinstance(value, int | float) else None,
    )
