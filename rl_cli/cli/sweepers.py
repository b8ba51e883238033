"""Sweepers of other packages: they must maximize the return of a job, and continue after failed jobs.

A job returns `eval_return`. Most optimizers minimize by default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rl_cli.core.errors import BadInput, RunError

OURS = ("grid", "basic")

DIRECTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "direction": (lambda value: _name(value) == "maximize", "maximize"),  # hydra-optuna-sweeper
    "optim.maximize": (bool, "true"),  # hydra-nevergrad-sweeper
    "ax_config.experiment.minimize": (lambda value: not value, "false"),  # hydra-ax-sweeper
}
"""Key of `hydra.sweeper` -> whether its value means maximize, and the value that does."""

FAILURES = "max_failure_rate"
"""The key of hydra-optuna-sweeper that says above which share of failed jobs it stops."""


class JobFailed(RunError):
    """A job has no return. A sweeper that reads it gets this exception."""

    def __str__(self) -> str:
        return self.what


def _name(value: Any) -> str:
    """Of an enum's member, or a text."""
    return str(getattr(value, "name", value))


def adapted(sweeper: Any, words: list[str]) -> list[str]:
    """Overrides that make a sweeper continue after failed jobs, unless the command line sets when it stops.

    Args:
        sweeper: the composed `hydra.sweeper`.
        words: of the command line.

    Raises:
        BadInput: it would minimize returns.

    """
    from omegaconf import OmegaConf

    for key, (maximizes, value) in DIRECTIONS.items():
        found = OmegaConf.select(sweeper, key, default=None)
        if found is None or maximizes(found):
            continue
        raise BadInput(
            "a sweeper must maximize what a job returns, its evaluation return",
            f"hydra.sweeper.{key}={_name(found)}",
            f"write hydra.sweeper.{key}={value}",
        )
    given = any(word.startswith(f"hydra.sweeper.{FAILURES}=") for word in words)
    is_strict = OmegaConf.select(sweeper, FAILURES, default=None) == 0
    return [f"hydra.sweeper.{FAILURES}=1.0"] if is_strict and not given else []
