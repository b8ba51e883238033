"""`rl_cli.evaluate` and `rl_cli.load`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl_cli.api.isolation import isolated
from rl_cli.api.words import words_of
from rl_cli.storage import checkpoint_reader
from rl_cli.storage.run_names import find_run

if TYPE_CHECKING:
    from rl_cli.evaluation.agent import Agent
    from rl_cli.evaluation.replay import Evaluation

Place = str | os.PathLike[str]
"""A run folder or a checkpoint folder, the beginning of a run's name, or "latest"."""


def evaluate(run: Place, /, **keys: Any) -> Evaluation:
    """Evaluate a checkpoint: what `rl-eval` does, in this process, with the same results.

    Args:
        run: a run folder, one of its checkpoints, the beginning of a run's name, or "latest".
        keys: of `rl-eval`: episodes=100, checkpoint="best", seed=20_000, greedy=True, video=False. Nothing is
            printed unless `display` is given.

    Returns:
        Returns, lengths and statistics of the episodes, and the folder of evaluation.json and videos.

    Raises:
        BadInput: there is no such run, it is broken, or a key is invalid.
        RunError: the env failed.

    """
    words = words_of([], {"display": "none"} | keys)
    with isolated():
        from rl_cli.cli.evaluate import evaluate_run

        return evaluate_run(find_run(os.fspath(run), f"run={run}"), words)


def load(
    run: Place,
    /,
    checkpoint: int | str = "best",
    *,
    env: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Agent:
    """The policy of a run, ready to act. Only its manifest and its weights are read.

    Args:
        run: a run folder, one of its checkpoints, the beginning of a run's name, or "latest".
        checkpoint: "best", "latest" or a step.
        env: env keys that replace those of the run. An env of a module is given again here, because a run
            folder may come from anybody: env={"id": "my_module:MyEnv-v0"}.
        device: of the networks: "cpu", "cuda".

    Raises:
        BadInput: there is no such checkpoint, it is broken, or its env is missing.

    """
    from rl_cli.core import devices
    from rl_cli.core.process_settings import guarded
    from rl_cli.evaluation.agent import load_agent

    devices.require_driver(device)
    with guarded():
        place = Path(find_run(os.fspath(run), f"run={run}"))
        folder = checkpoint_reader.find(place, str(checkpoint))
        return load_agent(folder, dict(env or {}), device)
