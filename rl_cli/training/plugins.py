"""Registries of the callbacks and sinks that a configuration can choose. Does not import torch.

The keys are `callbacks.<name>.<setting>` and `log.sinks.<name>.<setting>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rl_cli.config.run import RunConfig
from rl_cli.core.plugins import Registry

if TYPE_CHECKING:
    from rl_cli.tracking.sinks import Sink, SinkContext
    from rl_cli.training.callbacks.base import Callback, CallbackContext

CALLBACKS: Registry[Callback] = Registry(
    "callback",
    "callbacks",
    "rl_cli.training.callbacks",
    {
        *("base", "triggers", "disk_retry", "reporter", "history"),
        *("video", "metrics", "evaluation", "checkpoint", "early_stopping"),  # part of every run
    },
    "rl_cli.callbacks",
)
SINKS: Registry[Sink] = Registry(
    "sink",
    "log.sinks",
    "rl_cli.tracking",
    {
        *("logger", "console", "formatting", "statistics", "sinks"),
        *("csv_table", "tensorboard"),  # always; by log.tensorboard
    },
    "rl_cli.sinks",
)


class Plugins(NamedTuple):
    """Constructors of what `callbacks` and `log.sinks` choose."""

    callbacks: list[Callable[[CallbackContext], Callback]]
    sinks: list[Callable[[SinkContext], Sink]]


def find_plugins(cfg: RunConfig) -> Plugins:
    """Look up what the configuration chooses.

    Raises:
        BadInput: unknown name, or settings that it does not take.

    """
    return Plugins(CALLBACKS.factories(cfg.callbacks), SINKS.factories(cfg.log.sinks))
